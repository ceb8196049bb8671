"""The proxy of the fault runs forwards what it should, and does what its plan says."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.faults.plan import Fault, Plan
from tests.faults.proxy import Proxy
from tests.faults.wires import NatsWire

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = b"HPUB log.w0 _INBOX.1 8 12\r\nh: 1\r\n\r\nbody\r\n"
REQUEST = b"PUB $JS.API.INFO _INBOX.2 0\r\n\r\n"


@contextlib.contextmanager
def server() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server that answers + for everything it reads; what each connection has said."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(ConnectionError):
            while data := client.recv(65536):
                heard[number] += data
                client.sendall(b"+")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                heard.append(b"")
                served.append(threading.Thread(target=serve, args=(client, len(heard) - 1)))
                served[-1].start()

    served = [threading.Thread(target=accept)]
    served[0].start()
    yield listener.getsockname(), heard
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in served:
        thread.join(10)
        assert not thread.is_alive()


def said(fault: Fault | None) -> tuple[bytes, bytes]:
    """What the server heard of a request and a frame, and what the client was answered."""
    plan = Plan(7, [fault or "delay"], share=1.0, delay=0.01, silence=0.05)
    plan.active = fault is not None
    with server() as (address, heard), Proxy(address, NatsWire, plan) as proxy:
        host, _, port = proxy.address.partition(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(REQUEST)
            answer = client.recv(1)
            with contextlib.suppress(ConnectionError):
                client.sendall(FRAME)
                answer += client.recv(1)
    assert plan.happened == ([fault] if fault else [])
    return heard[0], answer


@pytest.mark.parametrize(
    ("fault", "heard", "answered"),
    [
        ("cut_before", REQUEST, b"+"),
        ("cut_after", REQUEST + FRAME, b"+"),
        ("lose_ack", REQUEST + FRAME, b"+"),
        ("delay", REQUEST + FRAME, b"++"),
        ("duplicate", REQUEST + FRAME * 2, b"++"),
    ],
)
def test_what_each_fault_does(fault: Fault, heard: bytes, answered: bytes) -> None:
    """To a message that stores something, and to nothing else."""
    assert said(fault) == (heard, answered)


def test_a_message_cut_within_arrives_in_part() -> None:
    """Some of it, but not all."""
    heard, _ = said("cut_within")
    assert (REQUEST + FRAME).startswith(heard)
    assert len(REQUEST) < len(heard) < len(REQUEST + FRAME)


def test_without_faults_it_is_not_noticed() -> None:
    """Everything arrives, in both directions."""
    assert said(None) == (REQUEST + FRAME, b"++")


MESSAGES = st.lists(
    st.one_of(
        st.sampled_from([(b"PING\r\n", False), (b"SUB a.* 1\r\n", False), (REQUEST, False)]),
        st.binary(max_size=40).map(lambda b: (b"PUB a %d\r\n%b\r\n" % (len(b), b), False)),
        st.binary(max_size=40).map(lambda b: (b"HPUB a.b r 0 %d\r\n%b\r\n" % (len(b), b), True)),
    )
)


@given(MESSAGES, st.lists(st.integers(1, 50)))
def test_messages_are_found_however_they_arrive(
    messages: list[tuple[bytes, bool]], sizes: list[int]
) -> None:
    """Cut anywhere, also within a payload that looks like a message."""
    data, wire = b"".join(message for message, _ in messages), NatsWire()
    found: list[tuple[bytes, bool]] = []
    for size in sizes:
        found += wire.feed(data[:size])
        data = data[size:]
    assert found + wire.feed(data) == messages

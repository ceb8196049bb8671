"""What JetStream refuses: what passes by itself nobody hears of, the rest is said at once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm.errors import StoreUnreadable, WriterBusy
from rat_fsm.stores.nats.address import parse
from rat_fsm.stores.nats.chain import Chains
from rat_fsm.stores.nats.link import Link
from rat_fsm.stores.nats.messages import HEADER, header_of
from rat_fsm.stores.nats.reading import Reader
from rat_fsm.stores.nats.refusals import LOST_RACE, PASSING, Refusal
from rat_fsm.stores.nats.slots import Slots
from rat_fsm.stores.nats.streams import Streams
from rat_fsm.stores.port import StoredFrame
from rat_fsm.testing.store_contract import make_frame, refusal_of
from tests.servers.fixtures import nats_binary, new_stream
from tests.servers.nats import running, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from tests.servers.nats import NatsServer

API: Final = "$JS.scripted.API"
PATIENCE: Final = 20.0
NOTHING: Final = {"error": {"err_code": 10037, "description": "no message found"}}


def refused(code: int) -> dict[str, Any]:
    """The answer that refuses with a code."""
    return {"error": {"err_code": code, "description": f"for the reason {code}"}}


class Scripted:
    """Answers in place of JetStream, where a server has no such domain.

    Attributes:
        answers: by subject, in order; the last is given again.
    """

    def __init__(self, server: NatsServer, answers: dict[str, list[dict[str, Any]]]) -> None:
        self.answers = answers
        self._url = f"nats://{server.server}"
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    async def _serve(self) -> None:
        import nats

        client = await nats.connect(self._url)
        for subject in self.answers:
            await client.subscribe(subject, cb=self._answer)
        await client.flush()
        self._ready.set()
        await self._ended.wait()
        await client.close()

    async def _answer(self, message: Msg) -> None:
        left = self.answers[message.subject]
        await message.respond(json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode())

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """As long as the context."""
        self._thread.start()
        try:
            assert self._ready.wait(PATIENCE)
            yield
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(PATIENCE)
            self._loop.close()


def encoded(data: bytes) -> str:
    """As JetStream's API writes bytes."""
    return base64.b64encode(data).decode()


@contextlib.contextmanager
def asking(
    server: NatsServer, stream: str, answers: dict[str, list[dict[str, Any]]]
) -> Iterator[Link]:
    """A link to a server, where somebody answers for its JetStream."""
    address = parse(f"nats://{server.server}/{stream}?domain=scripted")
    with Scripted(server, answers).answering(), contextlib.closing(Link(address)) as link:
        yield link


def test_what_passes_is_asked_again(nats_server: NatsServer) -> None:
    """Until there is an answer."""
    answers = [*map(refused, sorted(PASSING)), {"done": True}]
    with asking(nats_server, "x", {f"{API}.STREAM.INFO.x": answers}) as link:
        assert link.run(link.ask("STREAM.INFO.x")) == {"done": True}


def test_who_asked_for_too_long_hears_why(nats_server: NatsServer) -> None:
    """What the servers said all the time, beside that nobody answered."""
    with asking(nats_server, "x", {f"{API}.STREAM.INFO.x": [refused(10008)]}) as link:
        problem = refusal_of(link.run, link.ask("STREAM.INFO.x"), 0.5)
        assert isinstance(problem, TimeoutError)
        assert str(problem) == "no answer in 0.5 s: JetStream refused: for the reason 10008"


def test_what_does_not_pass_is_said_at_once(nats_server: NatsServer) -> None:
    """With its code."""
    with asking(nats_server, "x", {f"{API}.STREAM.INFO.x": [refused(10059)]}) as link:
        problem = refusal_of(link.run, link.ask("STREAM.INFO.x"))
        assert isinstance(problem, Refusal)
        assert problem.code == 10059


@pytest.mark.parametrize("code", sorted(PASSING | LOST_RACE))
def test_an_append_that_is_refused_for_a_moment_is_made_again(
    nats_server: NatsServer, code: int
) -> None:
    """On what is last then."""
    name, frame = new_stream(), make_frame()
    streams = Streams(name)
    answers = {
        streams.frames.subject("w0"): [refused(code), refused(code), {"stream": name, "seq": 7}],
        f"{API}.STREAM.MSG.GET.{name}": [NOTHING],
    }
    with asking(nats_server, name, answers) as link:
        assert link.run(Chains(streams).append(link, frame)) == 7


def test_an_append_waits_for_a_leader(nats_server: NatsServer) -> None:
    """Nobody hears of it that there was none for a moment."""
    name, frame = new_stream(), make_frame()
    streams = Streams(name)
    heads = [NOTHING] * 4
    with (
        asking(nats_server, name, {f"{API}.STREAM.MSG.GET.{name}": heads}) as link,
        ThreadPoolExecutor(1) as pool,
    ):
        appending = pool.submit(link.run, Chains(streams).append(link, frame), PATIENCE)
        wait_until(lambda: len(heads) == 1, "third look")
        leader = Scripted(nats_server, {streams.frames.subject("w0"): [{"stream": name, "seq": 1}]})
        with leader.answering():
            assert appending.result(PATIENCE) == 1


@pytest.mark.parametrize("code", sorted(PASSING | LOST_RACE))
def test_a_claim_that_is_refused_for_a_moment_is_made_again(
    nats_server: NatsServer, code: int
) -> None:
    """Likewise."""
    name = new_stream()
    slots = Slots(Streams(name).slots, 15.0)
    answers = {
        f"rat_fsm.{name}.slots.w0": [refused(code), {"stream": f"{name}_slots", "seq": 1}],
        f"{API}.STREAM.MSG.GET.{name}_slots": [NOTHING],
    }
    with asking(nats_server, name, answers) as link:
        assert link.run(slots.take(link, "w0")) == "w0"


def test_an_acknowledgement_of_another_stream_is_none(nats_server: NatsServer) -> None:
    """Nobody knows then whether the right one has it."""
    name = new_stream()
    streams = Streams(name)
    answers: dict[str, list[dict[str, Any]]] = {
        streams.frames.subject("w0"): [{"stream": name, "domain": "leaf", "seq": 7}],
        f"{API}.STREAM.MSG.GET.{name}": [NOTHING],
    }
    with asking(nats_server, name, answers) as link:
        problem = refusal_of(link.run, Chains(streams).append(link, make_frame()))
        assert isinstance(problem, OSError)
        assert "of domain 'leaf' answers in place of" in str(problem)


def test_a_slot_that_was_renewed_at_the_last_moment_is_not_taken(nats_server: NatsServer) -> None:
    """Its lease had ended when it was looked at, and has not when it was to be written."""
    name, at = new_stream(), "2026-11-26T12:00:0{}.5Z"
    state = {"state": {"first_seq": 1, "last_seq": 1}, "config": {}, "ts": at.format(9)}

    def held(sequence: int, since: int) -> dict[str, Any]:
        entry = {"writer": "w0", "epoch": 1, "token": "another", "lease": 2_000_000}
        data = encoded(json.dumps(entry).encode())
        return {"message": {"seq": sequence, "data": data, "time": at.format(since)}}

    answers: dict[str, list[dict[str, Any]]] = {
        f"rat_fsm.{name}.slots.w0": [refused(10071), {"stream": f"{name}_slots", "seq": 3}],
        f"{API}.STREAM.MSG.GET.{name}_slots": [held(1, 1), held(2, 8)],
        f"{API}.STREAM.INFO.{name}_slots": [state],
    }
    with asking(nats_server, name, answers) as link:
        problem = refusal_of(link.run, Slots(Streams(name).slots, 15.0).take(link, "w0"))
        assert isinstance(problem, WriterBusy)


def test_a_refusal_that_stays_is_said_of_an_append_and_of_a_claim(nats_server: NatsServer) -> None:
    """Such as that the stream is not the expected one."""
    name = new_stream()
    streams = Streams(name)
    answers = {
        streams.frames.subject("w0"): [refused(10060)],
        streams.slots.subject("w0"): [refused(10060)],
        f"{API}.STREAM.MSG.GET.{name}": [NOTHING],
        f"{API}.STREAM.MSG.GET.{name}_slots": [NOTHING],
    }
    with asking(nats_server, name, answers) as link:
        for work in (
            Chains(streams).append(link, make_frame()),
            Slots(streams.slots, 15.0).take(link, "w0"),
        ):
            problem = refusal_of(link.run, work)
            assert isinstance(problem, Refusal)
            assert problem.code == 10060


def test_the_leader_is_read_from_where_no_copy_answers(nats_server: NatsServer) -> None:
    """One frame after the other."""
    name, frame = new_stream(), make_frame()
    found = {
        "seq": 1,
        "hdrs": encoded(f"NATS/1.0\r\n{HEADER}: {header_of(frame)}\r\n\r\n".encode()),
        "data": encoded(frame.body),
        "time": "2026-11-26T12:00:00Z",
    }
    state = {"state": {"first_seq": 1, "last_seq": 1}, "ts": found["time"], "config": {}}
    answers: dict[str, list[dict[str, Any]]] = {
        f"{API}.STREAM.INFO.{name}": [state],
        f"{API}.STREAM.MSG.GET.{name}": [refused(10008), {"message": found}],
    }
    with asking(nats_server, name, answers) as link:
        assert list(Reader(link, Streams(name).frames).read(0, None)) == [StoredFrame(1, frame)]


def test_who_has_no_right_to_a_slot_hears_of_it_at_once(tmp_path: Path) -> None:
    """Asking again would not help."""
    may = '{ publish: ["$JS.API.>", "rat_fsm.*.frames.>"] }'
    more = f"authorization {{ users: [{{ user: me, password: none, permissions: {may} }}] }}"
    with running(tmp_path, nats_binary(), more=more) as server:
        url = f"nats://me:none@{server.server}/events?max_bytes=1000000"
        with opened(url) as store:
            problem = refusal_of(store.claim, "w0")
            assert isinstance(problem, StoreUnreadable)
            assert 'permissions violation for publish to "rat_fsm.events.slots.w0"' in str(problem)

"""Slots are leased by the servers' clocks: whoever comes back too late has lost its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.errors import StoreUnreadable, WriterBusy, WriterFenced
from rat_fsm.testing.store_contract import make_frame, refusal_of
from tests.servers.fixtures import fresh_stream, new_stream
from tests.servers.nats import NatsServer, told, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.nats import NatsStore

PATIENCE: Final = 20.0
HOLDER: Final = Path(__file__).with_name("nats_holder.py")
SHORT: Final = "&lease=0.6"


class Holder:
    """A process that holds a slot until it ends."""

    def __init__(self, url: str, writer: str) -> None:
        command = [sys.executable, str(HOLDER), url, writer]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def append(self) -> str:
        """What becomes of its next frame."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.heard()


@contextlib.contextmanager
def holding(url: str, writer: str = "w0") -> Iterator[Holder]:
    """Such a process, killed in the end."""
    holder = Holder(url, writer)
    try:
        assert holder.heard() == "held"
        yield holder
    finally:
        holder.process.kill()
        holder.process.communicate(timeout=PATIENCE)


def taken(store: NatsStore, writer: str = "w0") -> None:
    """Takes a slot as soon as its lease has ended."""
    wait_until(lambda: not isinstance(_claimed(store, writer), WriterBusy), "free slot")


def _claimed(store: NatsStore, writer: str) -> Exception | str:
    try:
        return store.claim(writer)
    except WriterBusy as problem:
        return problem


def rob(server: NatsServer, stream: str, writer: str, epoch: int, by: str = "another") -> None:
    """Writes what another process would that has taken a slot whose lease had ended."""
    subject = f"rat_fsm.{stream}.slots.{writer}"
    entry = {"writer": writer, "epoch": epoch, "token": by, "lease": 60_000_000}
    told(server, subject, json.dumps(entry).encode())


def test_slots_say_who_holds_what(nats_url: str) -> None:
    """Each time a slot is taken its epoch rises; what was given back is free, and known."""
    url = fresh_stream(nats_url)
    with opened(url) as store, opened(url) as other:
        assert store.slots() == {}
        store.claim("w0")
        other.claim("ä b")
        store.release("w0")
        store.claim("w0")
        store.claim("w2")
        store.release("w2")
        found = {name: (slot.epoch, slot.held) for name, slot in other.slots().items()}
        assert found == {"w0": (2, True), "ä b": (1, True), "w2": (1, False)}
        seen = other.slots()["w0"].seen
        assert seen is not None
        assert abs(seen - time.time_ns() // 1000) < 60_000_000
        assert [store.holds(name) for name in ("w0", "ä b", "w2", "w9")] == [
            True,
            False,
            False,
            False,
        ]


def test_a_slot_that_was_taken_is_lost(nats_server: NatsServer) -> None:
    """Its holder hears of it by a renewal; every append is fenced, and release does no harm."""
    stream = new_stream()
    url = f"nats://{nats_server.server}/{stream}?max_bytes=1000000{SHORT}"
    with opened(url) as store:
        first = make_frame()
        store.claim("w0")
        store.append(first)
        rob(nats_server, stream, "w0", 2)
        wait_until(lambda: not store.holds("w0"), "loss")
        for frame in (first, make_frame(before=first)):
            problem = refusal_of(store.append, frame)
            assert isinstance(problem, WriterFenced)
            assert "the lease on writer w0" in str(problem)
        store.release("w0")
        slot = store.slots()["w0"]
        assert (slot.epoch, slot.held) == (2, True)
        assert isinstance(refusal_of(store.claim, "w0"), WriterBusy)
        assert store.append(make_frame("w1")) == 2


def test_a_slot_that_was_taken_unheard_is_ones_own(nats_server: NatsServer) -> None:
    """Where the answer to a claim was lost, the next claim finds its message; others do not."""
    stream = new_stream()
    url = f"nats://{nats_server.server}/{stream}?max_bytes=1000000"
    with opened(url) as store, opened(url) as other:
        rob(nats_server, stream, "w0", 3, by=store._slots._token)
        assert isinstance(refusal_of(other.claim, "w0"), WriterBusy)
        assert store.claim("w0") == "w0"
        assert epoch_and_held(store) == (3, True)
        assert isinstance(refusal_of(store.claim, "w0"), WriterBusy)


def test_a_slot_that_a_server_forgot_is_kept(nats_server: NatsServer) -> None:
    """Nobody else has it: its holder writes it again, whether all is gone or the newest only."""
    stream = new_stream()
    url = f"nats://{nats_server.server}/{stream}?max_bytes=1000000{SHORT}"
    with opened(url) as store:
        store.claim("w0")
        for forget in (
            lambda: told(nats_server, f"$JS.API.STREAM.PURGE.{stream}_slots"),
            lambda: rob(nats_server, stream, "w0", 0),
        ):
            forget()
            wait_until(lambda: epoch_and_held(store) == (1, True), "renewal")
            assert store.holds("w0")
        assert store.append(make_frame()) == 1


def epoch_and_held(store: NatsStore) -> tuple[int, bool] | None:
    """Of w0."""
    slot = store.slots().get("w0")
    return None if slot is None else (slot.epoch, slot.held)


def test_a_lease_is_renewed_as_long_as_its_holder_lives(nats_url: str) -> None:
    """However short it is, nobody else gets the slot; its epoch stays."""
    url = fresh_stream(nats_url, SHORT)
    with opened(url) as store, opened(url) as other:
        store.claim("w0")
        first = other.slots()["w0"].seen
        assert first is not None
        wait_until(lambda: (other.slots()["w0"].seen or 0) > first + 1_200_000, "renewal")
        assert isinstance(refusal_of(other.claim, "w0"), WriterBusy)
        assert (other.slots()["w0"].epoch, store.holds("w0")) == (1, True)


def test_what_stands_in_place_of_a_slot_is_no_slot(nats_server: NatsServer) -> None:
    """Who may publish can put anything there; it is said, and not taken for free."""
    stream = new_stream()
    with opened(f"nats://{nats_server.server}/{stream}?max_bytes=1000000") as store:
        told(nats_server, f"rat_fsm.{stream}.slots.w0", b"hello")
        for call in (lambda: store.claim("w0"), store.slots):
            problem = refusal_of(call)
            assert isinstance(problem, StoreUnreadable)
            assert "in place of a slot" in str(problem)


@pytest.mark.slow
def test_the_slot_of_a_dead_process_is_free_after_its_lease(nats_url: str) -> None:
    """Not before: until then nobody knows that it is dead."""
    url = fresh_stream(nats_url, "&lease=2")
    with opened(url) as store, holding(url) as holder:
        holder.append()
        holder.process.kill()
        holder.process.wait(PATIENCE)
        assert isinstance(refusal_of(store.claim, "w0"), WriterBusy)
        assert store.claim(None) == "w1"
        taken(store)
        assert store.slots()["w0"].epoch == 2
        head = store.head("w0")
        assert head is not None
        assert store.append(make_frame("w0", head.frame)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("appended", [True, False])
def test_a_process_that_was_stopped_past_its_lease_is_fenced(
    nats_url: str, *, appended: bool
) -> None:
    """Whether or not the one who took its slot has written anything."""
    url = fresh_stream(nats_url, "&lease=1")
    with opened(url) as store, holding(url) as holder:
        assert holder.append() == "1"
        holder.process.send_signal(signal.SIGSTOP)
        taken(store)
        head = store.head("w0")
        assert head is not None
        if appended:
            store.append(make_frame("w0", head.frame, text="the new one's"))
        holder.process.send_signal(signal.SIGCONT)
        assert [holder.append(), holder.append()] == ["WriterFenced", "WriterFenced"]
        assert len(list(store.read())) == (2 if appended else 1)
        assert store.holds("w0")


@pytest.mark.slow
def test_a_stopped_process_keeps_a_slot_that_nobody_took(nats_url: str) -> None:
    """Its lease ended, and counts again once it has renewed it."""
    url = fresh_stream(nats_url, "&lease=1")
    with opened(url) as store, holding(url) as holder:
        assert holder.append() == "1"
        holder.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not store.slots()["w0"].held, "end of the lease")
        holder.process.send_signal(signal.SIGCONT)
        assert holder.append() == "2"
        slot = store.slots()["w0"]
        assert (slot.epoch, slot.held) == (1, True)


@pytest.mark.slow
def test_a_lease_outlives_a_server_that_was_away(mortal_nats: NatsServer) -> None:
    """While nobody can take the slot, who cannot renew it has not lost it."""
    url = fresh_stream(f"nats://{mortal_nats.server}", "&lease=0.5")
    with opened(url) as store:
        frame = make_frame()
        store.claim("w0")
        mortal_nats.kill()
        assert isinstance(refusal_of(store.append, frame), OSError)
        assert store.holds("w0")
        mortal_nats.start()
        store.reopen()
        assert store.append(frame) == 1
        wait_until(lambda: store.slots()["w0"].held, "renewal")
        assert store.slots()["w0"].epoch == 1

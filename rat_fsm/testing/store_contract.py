"""The test-suite of the store port: a store that passes it may hold a log.

`rat_fsm.stores.memory.MemoryStore` is the specification in its simplest form; this says the same
in examples, and the last test compares any store with it under random operations.
"""
# ruff: noqa: S101 - a contract is told in asserts, like every test

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from rat_fsm.codec import hash_of
from rat_fsm.errors import HistoryEvicted, LogClosed, WriterBusy, WriterFenced
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import (
    GENESIS,
    Frame,
    Snapshot,
    Store,
    StoredFrame,
    SupportsNames,
    SupportsSnapshots,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PATIENCE: Final = 10.0
NAMES: Final = ("ü", "two", "ü three", "%", "Ü", "ü", '"quoted\\', "_", "%')")
WRITERS: Final = ("w0", "w1", "ä writer/with: odd characters")


def make_frame(
    writer: str = "w0",
    before: Frame | None = None,
    *,
    count: int = 1,
    text: str = "x",
    streams: Sequence[str] = (),
) -> Frame:
    """A sound frame that continues a writer's chain; ``text`` makes it differ from others.

    It names ``streams``, but holds no events whatever its ``count``: a store need not look.
    """
    named = json.dumps([["test", name, 1, 0] for name in streams], ensure_ascii=False)
    types = '["test.happened",1,[]]' if streams else ""
    body = f'{{"types":[{types}],"streams":{named},"events":[],"text":"{text}"}}'.encode()
    frame = Frame(
        writer=writer,
        first=1 if before is None else before.first + before.count,
        count=count,
        first_at=1_800_000_000_000_000 if before is None else before.last_at,
        last_at=1_800_000_000_000_007 if before is None else before.last_at + 7,
        fingerprints=("0123456789abcdef", "fedcba9876543210"),
        salt=bytes(range(16)),
        body=body,
        prev=GENESIS if before is None else before.hash,
        hash=b"",
    )
    return attrs.evolve(frame, hash=hash_of(frame))


def named(name: str, frame: Frame) -> bool:
    """Whether a frame of `make_frame` names a stream or an event so."""
    body = json.loads(frame.body)
    return name in {tag for tag, *_ in body["types"]} | {stream[1] for stream in body["streams"]}


def make_chain(writer: str, length: int, *, count: int = 1) -> list[Frame]:
    """So many frames, each continuing the one before."""
    chain: list[Frame] = []
    for number in range(length):
        before = chain[-1] if chain else None
        chain.append(make_frame(writer, before, count=count, text=f"{writer} {number}"))
    return chain


def refusal_of(call: Callable[..., object], *arguments: object) -> Exception:
    """What a call raises that must not succeed."""
    try:
        answer = call(*arguments)
    except Exception as problem:  # noqa: BLE001 - the test looks at it
        return problem
    raise AssertionError(f"nothing was refused; the answer was {answer!r}")


class StoreContract:
    """What every store must do.

    A store of your own proves itself in six lines::

        from rat_fsm.testing.store_contract import StoreContract

        class TestMyStore(StoreContract):
            def make_store(self, tmp_path):
                return MyStore(tmp_path / "log")
            def reopen_store(self, store, tmp_path):
                return MyStore(tmp_path / "log")

    ``make_store`` answers with a fresh, empty, writable store, each time for another log;
    ``tmp_path`` is pytest's directory for this test. ``reopen_store``, which may be left out,
    answers with another handle on the log of a store that was closed; ``second_store``, which
    may be left out as well, with one on the log of a store that is still open, as another
    process would have it. Snapshots and names are tested where the store has the methods.
    Run it with pytest; ``pytest.register_assert_rewrite("rat_fsm.testing.store_contract")``
    before the import makes it say more about a failure.
    """

    def make_store(self, tmp_path: Path) -> Store:
        """A fresh, empty, writable store."""
        raise NotImplementedError

    def reopen_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - subclasses do
        """The log of a closed store, opened again for writing."""
        self.skip(f"{type(store).__name__} does not outlive its handle")

    def second_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - likewise
        """The log of an open store, opened once more for writing."""
        self.skip(f"{type(store).__name__} has one handle only")

    def bounded_store(self, tmp_path: Path, max_events: int) -> Store:  # noqa: ARG002 - likewise
        """A fresh store that keeps about so many events and drops the oldest."""
        self.skip("it is not bounded")

    @staticmethod
    def skip(reason: str) -> NoReturn:
        """Skips the test that asked for something the store does not offer."""
        import pytest

        pytest.skip(reason)

    def test_it_is_a_store(self, tmp_path: Path) -> None:
        """It has every member of the port, was opened for writing, and names its address."""
        store = self.make_store(tmp_path)
        assert isinstance(store, Store)
        assert (store.writable, bool(store.url)) == (True, True)
        store.close()

    def test_an_empty_store_has_nothing(self, tmp_path: Path) -> None:
        """No frames, no heads, and waiting for the first comes to nothing."""
        store = self.make_store(tmp_path)
        assert (list(store.read()), store.heads(), store.wait(0, 0.0)) == ([], {}, False)
        store.close()

    def test_frames_are_kept_as_they_are(self, tmp_path: Path) -> None:
        """Every field of a frame is read back as it was, whatever it holds."""
        store = self.make_store(tmp_path)
        odd = make_frame(WRITERS[2], count=10_000, text="ü\\u0000 \U0001f980 " + "x" * 200_000)
        last = make_frame(WRITERS[2], odd, text="")
        assert [store.append(odd), store.append(last)] == [1, 2]
        assert list(store.read()) == [StoredFrame(1, odd), StoredFrame(2, last)]
        store.close()

    def test_positions_count_on_by_one(self, tmp_path: Path) -> None:
        """All writers share one order, without gaps, also after an append was refused."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 2), make_chain("w1", 2)
        positions = [store.append(first[0]), store.append(second[0])]
        refusal_of(store.append, attrs.evolve(first[1], prev=GENESIS))
        positions += [store.append(second[1]), store.append(first[1])]
        assert positions == [1, 2, 3, 4]
        expected = [first[0], second[0], second[1], first[1]]
        assert list(store.read()) == [StoredFrame(n, f) for n, f in enumerate(expected, 1)]
        store.close()

    def test_reading_begins_after_a_position(self, tmp_path: Path) -> None:
        """``after`` is exclusive, may be the end or beyond it, and goes with one writer too."""
        store = self.make_store(tmp_path)
        chains = {writer: make_chain(writer, 20) for writer in WRITERS}
        for frame in itertools.chain(*zip(*chains.values(), strict=True)):
            store.append(frame)
        everything = list(store.read())
        for after in (0, 1, 16, 33, 59, 60, 61, 1000):
            assert list(store.read(after)) == everything[after:]
            for writer, chain in chains.items():
                own = [
                    StoredFrame(3 * n + WRITERS.index(writer) + 1, f) for n, f in enumerate(chain)
                ]
                assert list(store.read(after, writer)) == [f for f in own if f.position > after]
        assert list(store.read(0, "nobody")) == []
        store.close()

    def test_the_heads_are_the_last_frames(self, tmp_path: Path) -> None:
        """Every writer's last frame, wherever it stands."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 3), make_chain("w1", 1)
        for frame in (first[0], second[0], first[1], first[2]):
            store.append(frame)
        heads = {"w0": StoredFrame(4, first[2]), "w1": StoredFrame(2, second[0])}
        assert store.heads() == heads
        assert [store.head(writer) for writer in ("w0", "w1", "w2")] == [*heads.values(), None]
        store.close()

    def test_the_same_frame_again_is_stored_once(self, tmp_path: Path) -> None:
        """Repeating an append whose outcome was unknown answers the position it has."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 2)
        other = make_frame("w1")
        answers = [store.append(f) for f in (first, first, other, first, second, second)]
        assert answers == [1, 1, 2, 1, 3, 3]
        assert [stored.frame for stored in store.read()] == [first, other, second]
        store.close()

    def test_a_writer_that_was_overtaken_is_fenced(self, tmp_path: Path) -> None:
        """A frame whose previous hash is not the writer's head is refused and changes nothing."""
        store = self.make_store(tmp_path)
        first, second, third = make_chain("w0", 3)
        store.append(first)
        rival = make_frame("w0", first, text="rival")
        store.append(rival)
        foreign = make_frame("w1", first, text="on the chain of somebody else")
        again = make_frame("w0", text="a chain begun anew")
        for frame in (second, third, foreign, again):
            assert isinstance(refusal_of(store.append, frame), WriterFenced)
        assert [stored.frame for stored in store.read()] == [first, rival]
        store.close()

    def test_events_are_counted_without_gaps(self, tmp_path: Path) -> None:
        """A frame whose first event does not follow the writer's last one is refused as well."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 2, count=3)
        late = make_frame("w1", attrs.evolve(first, hash=GENESIS))
        store.append(first)
        for number in (1, 3, 5):
            frame = attrs.evolve(second, first=number)
            assert isinstance(refusal_of(store.append, frame), WriterFenced)
        assert isinstance(refusal_of(store.append, late), WriterFenced)
        assert [stored.frame for stored in store.read()] == [first]
        store.close()

    def test_a_slot_is_held_by_one(self, tmp_path: Path) -> None:
        """A claimed slot is busy until it is released, and no name is too odd for one."""
        store = self.make_store(tmp_path)
        for writer in (*WRITERS, "../up", "x" * 512):
            assert store.claim(writer) == writer
            assert isinstance(refusal_of(store.claim, writer), WriterBusy)
            store.release(writer)
            assert store.claim(writer) == writer
            store.release(writer)
        store.close()

    def test_the_lowest_free_slot_is_given(self, tmp_path: Path) -> None:
        """Without a name, the lowest of w0, w1 … that nobody holds."""
        store = self.make_store(tmp_path)
        assert [store.claim(None), store.claim("w1"), store.claim(None)] == ["w0", "w1", "w2"]
        store.release("w1")
        assert [store.claim(None), store.claim(None)] == ["w1", "w3"]
        for number in range(4):
            store.release(f"w{number}")
        store.release("never claimed")
        store.close()

    def test_waiting_ends_with_a_frame(self, tmp_path: Path) -> None:
        """`wait` returns at once where there is a frame, and as soon as one comes otherwise."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 2)
        store.append(first)
        assert (store.wait(0, 0.0), store.wait(1, 0.0)) == (True, False)
        seen: list[bool] = []
        waiting = threading.Thread(target=lambda: seen.append(store.wait(1, PATIENCE)))
        waiting.start()
        store.append(second)
        waiting.join(PATIENCE)
        assert (seen, waiting.is_alive()) == ([True], False)
        store.close()

    def test_waiting_ends_with_the_store(self, tmp_path: Path) -> None:
        """Closing ends a `wait` with LogClosed; what is there is still told and read."""
        store = self.make_store(tmp_path)
        frame = make_frame()
        store.append(frame)
        seen: list[Exception] = []
        waiting = threading.Thread(target=lambda: seen.append(refusal_of(store.wait, 1, PATIENCE)))
        waiting.start()
        store.close()
        store.close()
        waiting.join(PATIENCE)
        assert [type(problem) for problem in seen] == [LogClosed]
        assert store.wait(0, 0.0)
        assert list(store.read()) == [StoredFrame(1, frame)]

    def test_writers_on_many_threads_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """Each chain is whole, each position is given once, and readers see a prefix."""
        store = self.make_store(tmp_path)
        chains = {f"w{number}": make_chain(f"w{number}", 10) for number in range(6)}
        positions: list[int] = []
        start = threading.Barrier(len(chains) + 1)

        def write(chain: list[Frame]) -> None:
            start.wait(PATIENCE)
            positions.extend([store.append(frame) for frame in chain])

        threads = [threading.Thread(target=write, args=(chain,)) for chain in chains.values()]
        for thread in threads:
            thread.start()
        start.wait(PATIENCE)
        prefixes: list[list[StoredFrame]] = []
        while len(prefixes) < 3 or any(thread.is_alive() for thread in threads):  # noqa: PLR2004
            prefixes.append(list(store.read()))
        everything = list(store.read())
        assert sorted(positions) == list(range(1, 61))
        assert all(prefix == everything[: len(prefix)] for prefix in prefixes)
        for writer, chain in chains.items():
            assert [stored.frame for stored in store.read(0, writer)] == chain
        store.close()

    def test_reopening_a_handle_loses_nothing(self, tmp_path: Path) -> None:
        """After a failure `reopen` makes a new handle; frames and claims are as they were."""
        store = self.make_store(tmp_path)
        first, second = make_chain("w0", 2)
        store.claim("w0")
        store.append(first)
        store.reopen()
        assert isinstance(refusal_of(store.claim, "w0"), WriterBusy)
        assert [store.append(first), store.append(second)] == [1, 2]
        assert list(store.read()) == [StoredFrame(1, first), StoredFrame(2, second)]
        store.release("w0")
        store.close()

    def test_a_log_is_the_same_when_opened_again(self, tmp_path: Path) -> None:
        """Frames, heads, positions and fences survive; slots are free."""
        store = self.make_store(tmp_path)
        chain = [make_frame("w0", text="ü\U0001f980"), *make_chain("w1", 2)]
        store.claim("w0")
        for frame in chain:
            store.append(frame)
        before = list(store.read()), store.heads()
        store.release("w0")
        store.close()
        again = self.reopen_store(store, tmp_path)
        assert (list(again.read()), again.heads()) == before
        assert isinstance(refusal_of(again.append, make_frame("w0", text="anew")), WriterFenced)
        assert again.append(chain[2]) == 3  # noqa: PLR2004 - where it stands
        assert again.append(make_frame("w0", chain[0])) == 4  # noqa: PLR2004 - the next
        assert again.claim("w0") == "w0"
        again.release("w0")
        again.close()

    def test_two_handles_see_one_log(self, tmp_path: Path) -> None:
        """What one handle stores or claims, the other sees at once, and its chain fences both."""
        store = self.make_store(tmp_path)
        other = self.second_store(store, tmp_path)
        first, second = make_chain("w0", 2)
        store.claim("w0")
        store.append(first)
        assert isinstance(refusal_of(other.claim, "w0"), WriterBusy)
        assert other.claim(None) == "w1"
        assert (list(other.read()), other.wait(0, 0.0)) == ([StoredFrame(1, first)], True)
        assert other.append(make_frame("w1")) == 2  # noqa: PLR2004 - the next
        assert other.append(second) == 3  # noqa: PLR2004 - the next
        rival = make_frame("w0", first, text="rival")
        assert isinstance(refusal_of(store.append, rival), WriterFenced)
        assert store.heads() == other.heads()
        store.release("w0")
        other.release("w1")
        other.close()
        store.close()

    def test_the_newest_snapshot_is_kept(self, tmp_path: Path) -> None:
        """One snapshot a writer, byte for byte with its head, in place of the one before."""
        store = self.make_store(tmp_path)
        if not isinstance(store, SupportsSnapshots):
            self.skip("it keeps no snapshots")
        old = Snapshot("w0", 1, 1, b"\x00old", bytes(32))
        new = Snapshot("w0", 2, 7, bytes(range(256)) * 100, bytes(range(32)))
        other = Snapshot(WRITERS[2], 1, 3, b"")
        assert store.load_snapshot("w0") is None
        for snapshot in (old, other, new):
            store.save_snapshot(snapshot)
        loaded = [store.load_snapshot(writer) for writer in ("w0", "w1", WRITERS[2])]
        assert loaded == [new, None, other]
        store.close()

    def test_frames_that_name_something_are_found(self, tmp_path: Path) -> None:
        """No frame after a position that names a stream or an event so is left out."""
        store = self.make_store(tmp_path)
        if not isinstance(store, SupportsNames):
            self.skip("it finds no names")
        chain: list[Frame] = []
        for number, name in enumerate(NAMES):
            before = chain[-1] if chain else None
            chain.append(make_frame("w0", before, streams=(name, f"other {number}")))
            store.append(chain[-1])
        for name in {*NAMES, "other 3", "test.happened", "nobody"}:
            wanted = [n for n, frame in enumerate(chain, 1) if named(name, frame)]
            for after in (0, 2, len(chain)):
                found = [stored.position for stored in store.naming(name, after)]
                assert found == sorted(found)
                assert [n for n in wanted if n > after] == [n for n in found if n in wanted]
                assert all(n > after for n in found)
        again = [stored for stored in store.naming(NAMES[0]) if stored.position in {1, 6}]
        assert again == [StoredFrame(1, chain[0]), StoredFrame(6, chain[5])]
        store.close()

    def test_a_bounded_store_says_what_it_dropped(self, tmp_path: Path) -> None:
        """The oldest frames go as a whole; asking for them raises, the heads stay."""
        store = self.bounded_store(tmp_path, 10)
        early, chain = make_frame("w1"), make_chain("w0", 5, count=4)
        for frame in (early, *chain):
            store.append(frame)
        kept = [StoredFrame(5, chain[3]), StoredFrame(6, chain[4])]
        assert list(store.read(4)) == kept
        assert list(store.read(4, "w1")) == []
        for after, writer in ((0, None), (3, None), (0, "w1"), (3, "w0")):
            problem = refusal_of(lambda *where: list(store.read(*where)), after, writer)
            assert isinstance(problem, HistoryEvicted)
        assert store.heads() == {"w0": kept[1], "w1": StoredFrame(1, early)}
        assert (store.append(early), store.wait(5, 0.0)) == (1, True)
        store.close()

    def test_it_behaves_as_the_memory_store_does(self, tmp_path: Path) -> None:
        """Whatever is asked of it in whatever order, the answers are the specification's."""
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st

        number = itertools.count()
        step = st.tuples(
            st.sampled_from(["next", "again", "stale", "claim", "release", "reopen"]),
            st.sampled_from(WRITERS),
        )

        @given(st.lists(step, max_size=12))
        @settings(
            max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
        )
        def compare(steps: list[tuple[str, str]]) -> None:
            path = tmp_path / f"example {next(number)}"
            path.mkdir()
            store, model = self.make_store(path), MemoryStore()
            chains: dict[str, list[Frame]] = {writer: [] for writer in WRITERS}
            for action, writer in steps:
                frame = _next_frame(action, writer, chains[writer])
                answers = [_do(action, which, writer, frame) for which in (store, model)]
                assert answers[0] == answers[1], (action, writer)
                if isinstance(answers[0], int) and frame not in chains[writer]:
                    chains[writer].append(frame)
            assert list(store.read()) == list(model.read())
            assert store.heads() == model.heads()
            for writer in WRITERS:
                store.release(writer)
                assert list(store.read(2, writer)) == list(model.read(2, writer))
            store.close()

        compare()


def _next_frame(action: str, writer: str, chain: list[Frame]) -> Frame:
    if action == "again" and chain:
        return chain[-1]
    if action == "stale":
        return make_frame(writer, chain[-2] if len(chain) > 1 else None, text="stale")
    return make_frame(writer, chain[-1] if chain else None, text=f"{len(chain)}")


def _do(action: str, store: Store, writer: str, frame: Frame) -> object:
    """What a store answers to a step: a value, or the type of what it raises."""
    calls: dict[str, Callable[[], object]] = {
        "claim": lambda: store.claim(writer),
        "release": lambda: store.release(writer),
        "reopen": store.reopen,
    }
    try:
        return calls.get(action, lambda: store.append(frame))()
    except Exception as problem:  # noqa: BLE001 - compared with the specification's
        return type(problem)

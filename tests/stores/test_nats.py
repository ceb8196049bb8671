"""The JetStream store on a real server: what it makes and finds, and what it says if it cannot."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import attrs
import pytest

from rat_fsm.errors import (
    DamagedFrame,
    HistoryEvicted,
    InvalidArgument,
    LogClosed,
    StoreUnreadable,
    UnsupportedFormat,
    WriterFenced,
)
from rat_fsm.stores import open_store
from rat_fsm.stores.nats.chain import Chains
from rat_fsm.stores.nats.durability import guarantee
from rat_fsm.stores.nats.opening import DEFAULT_MAX_BYTES, SCHEMA_KEY
from rat_fsm.stores.nats.streams import Streams
from rat_fsm.stores.port import Snapshot, StoredFrame, SupportsGuarantee, SupportsSlots
from rat_fsm.testing.store_contract import make_chain, make_frame, refusal_of
from tests.servers.fixtures import fresh_stream, nats_binary, new_stream
from tests.servers.nats import NatsServer, running, told, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Frame

PATIENCE = 20.0


def config_of(server: NatsServer, stream: str) -> dict[str, object]:
    """How a stream is configured."""
    config: dict[str, object] = told(server, f"$JS.API.STREAM.INFO.{stream}")["config"]
    return config


def test_a_stream_is_made_as_the_url_says(nats_server: NatsServer) -> None:
    """Limits and nothing that evicts, on one server, for ever only where it is asked for."""
    plain, worm = new_stream(), new_stream()
    with opened(f"nats://{nats_server.server}/{plain}"):
        pass
    with opened(f"nats://{nats_server.server}/{worm}?worm=1&max_bytes=2000000"):
        pass
    wanted = {
        "subjects": [f"rat_fsm.{plain}.frames.*"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_bytes": DEFAULT_MAX_BYTES,
        "max_age": 0,
        "max_msgs": -1,
        "num_replicas": 1,
        "deny_delete": False,
        "deny_purge": False,
    }
    found = config_of(nats_server, plain)
    assert {name: found[name] for name in wanted} == wanted
    forever = config_of(nats_server, worm)
    assert [forever[name] for name in ("max_bytes", "deny_delete", "deny_purge")] == [
        2_000_000,
        True,
        True,
    ]


def test_a_stream_that_is_there_changes_only_as_the_url_says(nats_server: NatsServer) -> None:
    """Explicit options are put into force, others left alone; what cannot be changed is said."""
    name = new_stream()
    base = f"nats://{nats_server.server}/{name}"
    with opened(f"{base}?max_bytes=1000000"):
        pass
    with opened(base):
        assert config_of(nats_server, name)["max_bytes"] == 1_000_000
    with opened(f"{base}?max_bytes=3000000&worm=1"):
        pass
    assert [config_of(nats_server, name)[key] for key in ("max_bytes", "deny_purge")] == [
        3_000_000,
        True,
    ]
    with pytest.raises(InvalidArgument, match="cannot be changed as the URL says"):
        open_store(f"{base}?replicas=3", writable=True)


def test_opening_for_reading_makes_nothing(nats_server: NatsServer) -> None:
    """Where there is no log it says so, and there is none afterwards."""
    name = new_stream()
    url = f"nats://{nats_server.server}/{name}"
    with pytest.raises(StoreUnreadable, match=f"no log at {re.escape(url)}"):
        open_store(url)
    answer = told(nats_server, f"$JS.API.STREAM.INFO.{name}")
    assert answer["error"]["description"] == "stream not found"


def test_a_reader_writes_nothing(nats_url: str) -> None:
    """A store that was opened for reading reads, follows and refuses everything else."""
    url, frame = fresh_stream(nats_url), make_frame()
    with opened(url) as store, opened(url, writable=False) as reader:
        store.append(frame)
        assert (list(reader.read()), reader.wait(0, PATIENCE)) == ([StoredFrame(1, frame)], True)
        for call in (
            lambda: reader.append(frame),
            lambda: reader.claim("w0"),
            lambda: reader.save_snapshot(Snapshot("w0", 1, 1, b"")),
            reader.reopen,
        ):
            assert isinstance(refusal_of(call), LogClosed)


def test_a_stream_of_something_else_is_left_alone(nats_server: NatsServer) -> None:
    """It is no log, whatever it is called."""
    name = new_stream()
    told(
        nats_server, f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": [f"other.{name}"]}
    )
    with pytest.raises(StoreUnreadable, match="a stream of something else"):
        open_store(f"nats://{nats_server.server}/{name}", writable=True)


def test_a_log_of_a_newer_version_is_left_alone(nats_server: NatsServer) -> None:
    """Its stream says what made it."""
    name = new_stream()
    config = {"name": name, "subjects": [f"rat_fsm.{name}.frames.*"], "metadata": {SCHEMA_KEY: "2"}}
    told(nats_server, f"$JS.API.STREAM.CREATE.{name}", config)
    with pytest.raises(UnsupportedFormat, match="schema 2, newer than this rat_fsm"):
        open_store(f"nats://{nats_server.server}/{name}", writable=True)


def test_room_that_a_server_does_not_have_is_named(nats_url: str) -> None:
    """What a stream may use is reserved when it is made."""
    with pytest.raises(StoreUnreadable, match=r"no room for 1125899906842624 bytes.*max_bytes="):
        open_store(f"{nats_url}/{new_stream()}?max_bytes={2**50}", writable=True)


def test_one_server_keeps_no_replicas(nats_url: str) -> None:
    """It is said at once."""
    with pytest.raises(StoreUnreadable, match="replicas > 1 not supported"):
        open_store(fresh_stream(nats_url, "&replicas=3"), writable=True)


def test_a_full_stream_is_named_and_takes_more_once_there_is_room(nats_url: str) -> None:
    """The append fails as on a full disk, nothing is lost, and the same frame goes in later."""
    name = new_stream()
    first, second = make_frame(text="x" * 60_000), None
    with opened(f"{nats_url}/{name}?max_bytes=100000") as store:
        store.append(first)
        second = make_frame(before=first, text="y" * 60_000)
        problem = refusal_of(store.append, second)
        assert isinstance(problem, OSError)
        assert "the stream is full" in str(problem)
        store.reopen()
        assert store.head("w0") == StoredFrame(1, first)
        with opened(f"{nats_url}/{name}?max_bytes=1000000"):
            assert store.append(second) == 2
        assert [stored.frame for stored in store.read()] == [first, second]


def test_it_says_what_an_acknowledgement_means(nats_server: NatsServer) -> None:
    """It may be lost with the machine, unless the server is known to sync each message."""
    url = f"nats://{nats_server.server}/{new_stream()}?max_bytes=1000000"
    with opened(url) as store, opened(f"{url}&monitor={nats_server.monitor}") as asking:
        assert isinstance(store, SupportsGuarantee)
        assert isinstance(store, SupportsSlots)
        assert store.guarantee == (
            "in the memory of one server, synced to disk at intervals unless it runs with "
            "sync_interval: always"
        )
        assert asking.guarantee == "in the memory of one server, synced to disk every 120 s"


def test_a_server_that_syncs_each_message_says_so(tmp_path: Path) -> None:
    """Its monitoring port does; one that does not answer, or is another port, promises nothing."""
    unknown = (
        "in the memory of 2 of 3 servers, synced to disk at intervals unless they run with "
        "sync_interval: always"
    )
    with running(tmp_path, nats_binary(), sync="always") as server:
        assert guarantee(1, [server.monitor]) == "synced to the disk of one server"
        assert guarantee(3, [server.monitor] * 3) == "synced to the disks of 2 of 3 servers"
        for other in (f"http://{server.server}", "http://127.0.0.1:none"):
            assert guarantee(3, [server.monitor, other]) == unknown
    assert guarantee(3, [server.monitor]) == unknown


def test_a_deleted_message_is_damage_and_reading_goes_on_behind_it(nats_server: NatsServer) -> None:
    """As with a frame that cannot be decoded."""
    name, chain = new_stream(), make_chain("w0", 4)
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        for frame in chain:
            store.append(frame)
        told(nats_server, f"$JS.API.STREAM.MSG.DELETE.{name}", {"seq": 3})
        found = store.read()
        assert [next(found).position, next(found).position] == [1, 2]
        with pytest.raises(DamagedFrame) as caught:
            next(found)
        assert caught.value.position == 3
        assert list(store.read(3)) == [StoredFrame(4, chain[3])]
        told(nats_server, f"$JS.API.STREAM.MSG.DELETE.{name}", {"seq": 4, "no_erase": True})
        with pytest.raises(DamagedFrame, match="frame 4 is damaged: it was deleted"):
            list(store.read(3))


def test_a_message_of_somebody_else_is_damage(nats_server: NatsServer) -> None:
    """Who may publish on a writer's subject can put anything there."""
    name, frame = new_stream(), make_frame()
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        store.append(frame)
        told(nats_server, f"rat_fsm.{name}.frames.intruder", b"hello")
        found = store.read()
        assert next(found) == StoredFrame(1, frame)
        with pytest.raises(DamagedFrame, match=r"frame 2 is damaged: .* no Rat-Fsm-Frame header"):
            next(found)


def test_what_was_purged_is_said_to_be_gone(nats_server: NatsServer) -> None:
    """Reading from before it raises, from behind it goes on, and positions stay."""
    name, chain = new_stream(), make_chain("w0", 5)
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        for frame in chain[:4]:
            store.append(frame)
        told(nats_server, f"$JS.API.STREAM.PURGE.{name}", {"seq": 3})
        for writer in (None, "w0"):
            problem = refusal_of(lambda who: list(store.read(1, who)), writer)
            assert isinstance(problem, HistoryEvicted)
            assert "frames 2 to 2" in str(problem)
        assert [stored.position for stored in store.read(2)] == [3, 4]
        assert store.append(chain[4]) == 5


def test_a_server_that_does_not_know_what_is_stored_fences_nobody(nats_server: NatsServer) -> None:
    """It may have been cut off from the others; what it says long enough is how it is."""
    name, chain = new_stream(), make_chain("w0", 4)
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        chains = Chains(Streams(name), patience=0.5)

        def append(frame: Frame) -> int:
            return store._link.run(chains.append(store._link, frame))

        assert [append(frame) for frame in chain[:3]] == [1, 2, 3]
        told(nats_server, f"$JS.API.STREAM.PURGE.{name}", {"seq": 4})
        chains.forget()
        problem = refusal_of(append, chain[3])
        assert isinstance(problem, OSError)
        assert "does not know frame 3, which is stored" in str(problem)
        wait_until(lambda: isinstance(refusal_of(append, chain[3]), WriterFenced), "verdict")
        assert str(refusal_of(append, chain[3])) == (
            "the servers have lost what w0 stored after frame 0, up to frame 3"
        )
        assert chains.cut_short == {"w0"}


def test_a_slot_whose_chain_was_cut_short_is_left_alone(nats_url: str) -> None:
    """What continued its lost end would be taken for that."""
    with opened(fresh_stream(nats_url)) as store:
        store._chains.cut_short.add("w0")
        assert store.claim(None) == "w1"


def test_heads_pass_over_what_is_no_frame(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named once; who finds it where its own chain goes on is fenced, and keeps away."""
    name, chain = new_stream(), make_chain("w0", 2)
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        store.append(chain[0])
        told(nats_server, f"rat_fsm.{name}.frames.intruder", b"hello")
        for _ in range(2):
            assert store.heads() == {"w0": StoredFrame(1, chain[0])}
        assert [record.message.count("frame 2 is damaged") for record in caplog.records] == [1]
        told(nats_server, f"rat_fsm.{name}.frames.w0", b"hello")
        problem = refusal_of(store.append, chain[1])
        assert isinstance(problem, WriterFenced)
        assert "no frame can continue the chain of w0: frame 3 is damaged" in str(problem)
        assert store.claim(None) == "w1"


def test_logs_whose_names_meet_are_told_apart(nats_url: str) -> None:
    """What keeps the slots of one is no log, and no log keeps the slots of another."""
    name, other = new_stream(), new_stream()
    with opened(f"{nats_url}/{name}?max_bytes=1000000"):
        for writable in (True, False):
            with pytest.raises(StoreUnreadable, match="a stream of something else"):
                open_store(f"{nats_url}/{name}_slots", writable=writable)
    with (
        opened(f"{nats_url}/{other}_slots?max_bytes=1000000"),
        pytest.raises(StoreUnreadable, match=f"{other}_slots is a stream of something else"),
    ):
        open_store(f"{nats_url}/{other}?max_bytes=1000000", writable=True)


def test_a_snapshot_of_somebody_else_is_none(nats_server: NatsServer) -> None:
    """Whatever its label says."""
    name = new_stream()
    nothing = hashlib.sha256(b"").hexdigest()
    label = {"fold_version": 1, "position": 1, "head": "zz", "pieces": 0, "digest": nothing}
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        told(nats_server, f"rat_fsm.{name}.snapshots.w0", label)
        assert store.load_snapshot("w0") is None


def test_a_large_log_is_read_in_batches(nats_url: str) -> None:
    """Of many frames and of much data, by one writer among others and from any position."""
    large = make_frame("w0", text="x" * 400_000)
    chain = [large]
    for _ in range(9):
        chain.append(make_frame("w0", chain[-1], text="y" * 400_000))
    small = make_chain("w1", 300)
    with opened(fresh_stream(nats_url)) as store:
        for frame in (*chain[:5], *small, *chain[5:]):
            store.append(frame)
        assert [stored.frame for stored in store.read()] == [*chain[:5], *small, *chain[5:]]
        assert [stored.frame for stored in store.read(3, "w0")] == chain[3:]
        assert [stored.frame for stored in store.read(100, "w1")] == small[95:]


def test_a_snapshot_in_many_pieces_is_whole_or_not_there(nats_server: NatsServer) -> None:
    """A shorter one replaces a longer one; where a piece is another's, there is none."""
    name = new_stream()
    long = Snapshot("ä b.c", 1, 7, os.urandom(1_700_000), bytes(32))
    short = attrs.evolve(long, position=8, data=b"short", head=None)
    with opened(f"nats://{nats_server.server}/{name}?max_bytes=1000000") as store:
        store.save_snapshot(long)
        assert store.load_snapshot("ä b.c") == long
        told(nats_server, f"rat_fsm.{name}.snapshots.%C3%A4%20b%2Ec.1", b"of another one")
        assert store.load_snapshot("ä b.c") is None
        store.save_snapshot(long)
        store.save_snapshot(short)
        assert store.load_snapshot("ä b.c") == short
        info = told(nats_server, f"$JS.API.STREAM.INFO.{name}_snapshots")
        assert info["state"]["messages"] == 2


def test_a_chain_goes_on_by_whichever_handle(nats_url: str) -> None:
    """What a handle remembers of a chain's end is asked for again when it does not fit."""
    url, chain = fresh_stream(nats_url), make_chain("w0", 5)
    with opened(url) as store, opened(url) as other:
        handles = (store, other, store, other, store)
        positions = [handle.append(one) for handle, one in zip(handles, chain, strict=True)]
        assert positions == [1, 2, 3, 4, 5]

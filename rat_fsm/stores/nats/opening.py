"""What a stream must be before frames go into it: made where there is none, checked, changed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument, StoreUnreadable, UnsupportedFormat
from rat_fsm.stores.nats.refusals import NO_PEERS, NO_STORAGE, NOT_FOUND, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rat_fsm.stores.nats.address import Address
    from rat_fsm.stores.nats.link import Link
    from rat_fsm.stores.nats.streams import State, Stream, Streams

SCHEMA: Final = 1
SCHEMA_KEY: Final = "rat_fsm.schema"
DEFAULT_MAX_BYTES: Final = 10 * 2**30
RETRY_INTERVAL: Final = 0.2
PATIENCE: Final = 15.0
JUST_MADE: Final = 2.0  # seconds after which every server has heard of it


async def opened(link: Link, streams: Streams, *, writable: bool) -> int:
    """Sees to it that a log is there, and is what it should be; on how many servers it is.

    Raises:
        StoreUnreadable: there is no such log, or it is something else.
        UnsupportedFormat: a newer rat_fsm made it.
        InvalidArgument: the URL wants what cannot be changed any more.
        OSError: the servers cannot be reached, or refuse.
    """
    address = link.address
    state = await _found(link, streams.frames, _frames_config(address) if writable else None)
    _check_ours(address, streams.frames, state.config)
    if not writable:
        return int(state.config["num_replicas"])
    state = await _changed(link, streams.frames, state)
    replicas = int(state.config["num_replicas"])
    for stream, what in ((streams.slots, "the writers' slots"), (streams.snapshots, "snapshots")):
        await _have(link, stream, _latest_only(what, replicas))
    await _within_domain(link, streams)
    return replicas


async def _within_domain(link: Link, streams: Streams) -> None:
    """Notes the domain, and sees to it that no other one stores what is meant for this one."""
    domain = (await streams.frames.state(link)).domain
    streams.belong_to(domain)
    if domain and await streams.frames.takers(link) > 1:
        raise _mixed(link.address, streams.frames)


def _mixed(address: Address, stream: Stream) -> StoreUnreadable:
    return StoreUnreadable(
        f"another stream takes what is meant for {stream.name} of {address.url}, such as that of a "
        "log in another JetStream domain: give one of both another name"
    )


async def _have(link: Link, stream: Stream, wanted: dict[str, Any]) -> None:
    """Makes a stream where there is none, on as many servers as it should be."""
    state = await _found(link, stream, wanted)
    _check_ours(link.address, stream, state.config)
    if state.config["num_replicas"] != wanted["num_replicas"]:
        config = {**state.config, "num_replicas": wanted["num_replicas"]}
        await _among_peers(lambda: stream.update(link, config))


def _latest_only(what: str, replicas: int) -> dict[str, Any]:
    """The configuration of a stream beside the frames that keeps one message a subject."""
    return {
        "description": f"{what} of a rat_fsm log",
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs_per_subject": 1,
        "num_replicas": replicas,
        "metadata": {SCHEMA_KEY: str(SCHEMA)},
    }


def _frames_config(address: Address) -> dict[str, Any]:
    return {
        "description": "the frames of a rat_fsm log",
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_bytes": address.max_bytes or DEFAULT_MAX_BYTES,
        "num_replicas": address.replicas or 1,
        "allow_direct": True,
        "deny_delete": address.worm,
        "deny_purge": address.worm,
        "metadata": {SCHEMA_KEY: str(SCHEMA)},
    }


async def _found(link: Link, stream: Stream, wanted: dict[str, Any] | None) -> State:
    """A stream, made where it is wanted."""
    try:
        return await stream.state(link)
    except Refusal as problem:
        if problem.code != NOT_FOUND:
            raise
    if wanted is None:
        raise StoreUnreadable(f"no log at {link.address.url}: there is no such stream")
    if await stream.takers(link):
        return await _just_made(link, stream)
    try:
        return await _among_peers(lambda: stream.create(link, wanted))
    except Refusal as problem:
        if _lacks_room(problem):
            raise _no_room(link.address, problem) from None
        raise


async def _just_made(link: Link, stream: Stream) -> State:
    """A stream that was not there a moment ago, and takes messages now, if it is that one."""
    deadline = time.monotonic() + JUST_MADE
    while True:
        try:
            return await stream.state(link)
        except Refusal as problem:
            if problem.code != NOT_FOUND:
                raise
        if time.monotonic() > deadline:
            raise _mixed(link.address, stream)
        await asyncio.sleep(RETRY_INTERVAL)


async def _among_peers(change: Callable[[], Coroutine[Any, Any, State]]) -> State:
    """What a change comes to; servers that have just started need time to know each other."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await change()
        except Refusal as problem:
            if problem.code != NO_PEERS or _lacks_room(problem) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(RETRY_INTERVAL)


def _lacks_room(problem: Refusal) -> bool:
    """One server says it by a code, a cluster among the reasons why no peers are suitable."""
    return problem.code == NO_STORAGE or "insufficient storage" in str(problem)


def _no_room(address: Address, problem: Refusal) -> StoreUnreadable:
    wanted = address.max_bytes or DEFAULT_MAX_BYTES
    return StoreUnreadable(
        f"the servers have no room for {wanted} bytes ({problem}); say less by max_bytes="
    )


def _check_ours(address: Address, stream: Stream, config: dict[str, Any]) -> None:
    schema = (config.get("metadata") or {}).get(SCHEMA_KEY)
    if schema is None or config.get("subjects") != [stream.pattern]:
        raise StoreUnreadable(
            f"{stream.name} is a stream of something else, not of the log {address.url}"
        )
    if not schema.isdecimal() or int(schema) > SCHEMA:
        raise UnsupportedFormat(
            f"{address.url} has schema {schema}, newer than this rat_fsm, which reads up to "
            f"{SCHEMA}; upgrade to read it"
        )


async def _changed(link: Link, stream: Stream, state: State) -> State:
    """A stream with what the URL says explicitly, where it is otherwise."""
    address, config = link.address, state.config
    said: dict[str, Any] = {}
    if address.replicas is not None:
        said["num_replicas"] = address.replicas
    if address.max_bytes is not None:
        said["max_bytes"] = address.max_bytes
    if address.worm:
        said |= {"deny_delete": True, "deny_purge": True}
    if all(config.get(name) == value for name, value in said.items()):
        return state
    try:
        return await _among_peers(lambda: stream.update(link, {**config, **said}))
    except Refusal as problem:
        if _lacks_room(problem):
            raise _no_room(address, problem) from None
        if problem.code == NO_PEERS:
            raise
        raise InvalidArgument(f"the stream cannot be changed as the URL says: {problem}") from None

"""The streams of a log: made, checked and changed as the URL asks, read by batches.

Frames are in ``STREAM``, one message each: the sequence of the message is the frame's position.
Slots are in ``STREAM_slots`` and snapshots in ``STREAM_snapshots``, which keep the last message of
each subject.
"""

from __future__ import annotations

import asyncio
import base64
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.stores.nats.link import Refusal
from rat_fsm.stores.nats.messages import Message, headers_of, token_of
from rat_fsm.stores.nats.wire import Exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.msg import Msg

    from rat_fsm.stores.nats.link import Link

BATCH_BYTES: Final = 2 * 2**20
BATCH_PATIENCE: Final = 1.5  # seconds without a message
END_OF_BATCH: Final = "204"
NO_MORE: Final = "404"
NOT_FOUND: Final = 10059
NO_MESSAGE: Final = 10037
IN_USE: Final = 10058
# The last message of the subject is another one; in a cluster also: one is on its way and nobody
# knows yet, or the new leader does not know.
LOST_RACE: Final = frozenset({10071, 10164, 10163})
NO_STORAGE: Final = 10047
# Of the stream, its account, the server; the first is said where the disk is full, too.
FULL: Final = frozenset({10077, 10002, 10023, NO_STORAGE})


@attrs.frozen
class State:
    """What a stream holds now, as its leader says.

    Attributes:
        first: the sequence of its first message, one more than the last where there is none.
        last: the sequence of its last message, also where that is gone.
        at: the leader's time, RFC 3339.
        config: how it is configured.
    """

    first: int
    last: int
    at: str
    config: dict[str, Any]


class Stream:
    """One stream, asked through a link.

    Attributes:
        name: of the stream.
        prefix: what its subjects begin with.
        pattern: its subjects.
    """

    def __init__(self, name: str, prefix: str, rest: str = "*") -> None:
        self.name = name
        self.prefix = prefix
        self.pattern = f"{prefix}.{rest}"

    def subject(self, writer: str) -> str:
        """Where a writer's messages are."""
        return f"{self.prefix}.{token_of(writer)}"

    async def state(self, link: Link) -> State:
        """What it holds.

        Raises:
            Refusal: among others, `NOT_FOUND`.
        """
        return _state(await link.ask(f"STREAM.INFO.{self.name}"))

    async def create(self, link: Link, wanted: dict[str, Any]) -> State:
        """Makes it; somebody else may be doing it at the same time, differently."""
        config = {"name": self.name, "subjects": [self.pattern], **wanted}
        try:
            return _state(await link.ask(f"STREAM.CREATE.{self.name}", config))
        except Refusal as problem:
            if problem.code == IN_USE:
                return await self.state(link)
            raise

    async def update(self, link: Link, config: dict[str, Any]) -> State:
        """Changes its configuration."""
        return _state(await link.ask(f"STREAM.UPDATE.{self.name}", config))

    async def last(self, link: Link, subject: str) -> Message | None:
        """The last message of a subject, as the leader has it."""
        return await self._get(link, {"last_by_subj": subject})

    async def next(self, link: Link, first: int, subject: str | None) -> Message | None:
        """The first message from a sequence on, as the leader has it."""
        anything = ">" if subject is None else subject
        return await self._get(link, {"seq": first, "next_by_subj": anything})

    async def _get(self, link: Link, question: dict[str, Any]) -> Message | None:
        try:
            found = await link.ask(f"STREAM.MSG.GET.{self.name}", question)
        except Refusal as problem:
            if problem.code == NO_MESSAGE:
                return None
            raise
        message = found["message"]
        return Message(
            int(message["seq"]),
            headers_of(base64.b64decode(message.get("hdrs", ""))),
            base64.b64decode(message.get("data", "")),
            message["time"],
        )

    async def subjects_in_use(self, link: Link) -> list[str]:
        """The subjects of which there are messages."""
        found: list[str] = []
        while True:
            question = {"subjects_filter": ">", "offset": len(found)}
            info = await link.ask(f"STREAM.INFO.{self.name}", question)
            page = info["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= info.get("total", 0):
                return found

    async def publish(
        self,
        link: Link,
        subject: str,
        payload: bytes,
        expected: int,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Adds a message, if the last one of its subject is the expected one; 0 is none.

        Raises:
            Refusal: one of `LOST_RACE` among others.
            OSError: nobody knows whether it was added.
        """
        fence = {
            "Nats-Expected-Stream": self.name,
            "Nats-Expected-Last-Subject-Sequence": str(expected),
        }
        answer = await link.request(subject, payload, {**headers, **fence})
        return int(answer["seq"])

    async def put(self, link: Link, subject: str, payload: bytes) -> int:
        """Adds a message, whatever is there."""
        return int((await link.request(subject, payload))["seq"])

    async def purge(self, link: Link, subject: str, before: int) -> None:
        """Deletes the messages of a subject before a sequence."""
        await link.ask(f"STREAM.PURGE.{self.name}", {"filter": subject, "seq": before})

    async def batch(self, link: Link, first: int, subject: str | None, size: int) -> list[Message]:
        """Some messages from a sequence on, as many as one answer holds; maybe of a follower.

        A follower may be behind its leader, and then has fewer.

        Raises:
            TimeoutError: whoever of them was asked is silent.
            OSError: it answers with an error.
        """
        question: dict[str, Any] = {"seq": first, "batch": size, "max_bytes": BATCH_BYTES}
        if subject is not None:
            question["next_by_subj"] = subject
        gathered: list[Message] = []
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def take(message: Msg) -> None:
            headers = message.headers or {}
            if "Nats-Sequence" in headers:
                gathered.append(_direct(headers, message.data))
            else:
                end.set_result(headers.get("Status", ""))

        wire = await link.wire()
        exchange = Exchange(link.api(f"DIRECT.GET.{self.name}"), take, end, BATCH_PATIENCE)
        await wire.exchange(exchange, json.dumps(question).encode())
        if end.result() not in {END_OF_BATCH, NO_MORE}:
            raise OSError(f"JetStream answers {end.result()} to a direct get")
        return gathered


class Streams:
    """The streams of a log.

    Attributes:
        frames: its frames.
        slots: its writers' slots.
        snapshots: its snapshots.
        stored: the subject, of no stream, on which writers say that they have stored a frame.
    """

    def __init__(self, log: str) -> None:
        prefix = f"rat_fsm.{log}"
        self.frames = Stream(log, f"{prefix}.frames")
        self.slots = Stream(f"{log}_slots", f"{prefix}.slots")
        self.snapshots = Stream(f"{log}_snapshots", f"{prefix}.snapshots", ">")
        self.stored = f"{prefix}.stored"


def _direct(headers: dict[str, str], data: bytes) -> Message:
    sequence = int(headers["Nats-Sequence"])
    return Message(sequence, headers, data, headers.get("Nats-Time-Stamp", ""))


def _state(info: dict[str, Any]) -> State:
    state = info["state"]
    return State(int(state["first_seq"]), int(state["last_seq"]), info["ts"], info["config"])

"""The streams of a log: made, checked and changed as the URL asks, read by batches.

Frames are in ``STREAM``, one message each: the sequence of the message is the frame's position.
Slots are in ``STREAM_slots`` and snapshots in ``STREAM_snapshots``, which keep the last message of
each subject.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.stores.nats.exchange import Exchange, Leaderless
from rat_fsm.stores.nats.messages import Message, headers_of, token_of
from rat_fsm.stores.nats.refusals import IN_USE, NO_MESSAGE, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.msg import Msg

    from rat_fsm.stores.nats.link import Link

BATCH_BYTES: Final = 2 * 2**20
BATCH_PATIENCE: Final = 1.5  # seconds without a message
TAKERS_PATIENCE: Final = 0.5  # likewise
LASTS_AT_ONCE: Final = 32
END_OF_BATCH: Final = "204"
NO_MORE: Final = "404"


@attrs.frozen
class State:
    """What a stream holds now, as its leader says.

    Attributes:
        first: the sequence of its first message, one more than the last where there is none.
        last: the sequence of its last message, also where that is gone.
        at: the leader's time, RFC 3339.
        config: how it is configured.
        domain: the JetStream domain of its servers, empty where they have none.
    """

    first: int
    last: int
    at: str
    config: dict[str, Any]
    domain: str = ""


class Stream:
    """One stream, asked through a link.

    Attributes:
        name: of the stream.
        prefix: what its subjects begin with.
        pattern: its subjects.
        domain: the JetStream domain of its servers.
    """

    def __init__(self, name: str, prefix: str, rest: str = "*") -> None:
        self.name = name
        self.prefix = prefix
        self.pattern = f"{prefix}.{rest}"
        self.domain = ""

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

    async def lasts(self, link: Link) -> list[Message]:
        """The last message of every subject, as the leader has it."""
        subjects = await self._subjects_in_use(link)
        found: list[Message | None] = []
        while subjects:
            some, subjects = subjects[:LASTS_AT_ONCE], subjects[LASTS_AT_ONCE:]
            found += await asyncio.gather(*(self.last(link, subject) for subject in some))
        return [message for message in found if message is not None]

    async def _subjects_in_use(self, link: Link) -> list[str]:
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
            Refusal: perhaps one that is undecided.
            Leaderless: nobody took it.
            OSError: nobody knows whether it was added.
        """
        fence = {
            "Nats-Expected-Stream": self.name,
            "Nats-Expected-Last-Subject-Sequence": str(expected),
        }
        return self._place(await link.request(subject, payload, {**headers, **fence}))

    async def put(self, link: Link, subject: str, payload: bytes) -> int:
        """Adds a message, whatever is there; perhaps twice, where an answer is lost."""
        return self._place(await link.patiently(lambda: link.request(subject, payload)))

    def _place(self, answer: dict[str, Any]) -> int:
        """Where a message is, as an acknowledgement says; one of another stream is none.

        Another domain, such as that of a leaf node, may have a stream with the same subjects.
        """
        where = (answer.get("stream"), answer.get("domain", ""))
        if where != (self.name, self.domain):
            raise OSError(
                f"stream {where[0]} of domain {where[1]!r} answers in place of {self.name} of "
                f"domain {self.domain!r}"
            )
        return int(answer["seq"])

    async def takers(self, link: Link) -> int:
        """How many streams take what we publish on its subjects; nothing is stored."""
        heard: list[Msg] = []
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        exchange = Exchange(self.subject("?"), heard.append, never, TAKERS_PATIENCE)
        wire = await link.wire()
        with contextlib.suppress(TimeoutError, Leaderless, PermissionError):
            await wire.exchange(exchange, b"", {"Nats-Expected-Stream": "?"})
        return len(heard)

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

    def belong_to(self, domain: str) -> None:
        """Says of which JetStream domain they are; an acknowledgement of another one is none."""
        for stream in (self.frames, self.slots, self.snapshots):
            stream.domain = domain


def _direct(headers: dict[str, str], data: bytes) -> Message:
    sequence = int(headers["Nats-Sequence"])
    return Message(sequence, headers, data, headers.get("Nats-Time-Stamp", ""))


def _state(info: dict[str, Any]) -> State:
    state, domain = info["state"], info.get("domain", "")
    first, last = int(state["first_seq"]), int(state["last_seq"])
    return State(first, last, info["ts"], info["config"], domain)

"""Slots as leases: whose a writer's name is, by the servers' clocks alone.

The last message of a slot's subject says who took it, how often it was taken before, and for how
long it counts from the time at which the server took the message. Every change is made on the
condition that this message is still the last one, so that of several who try one succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import secrets
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from rat_fsm.errors import StoreUnreadable, WriterBusy, WriterFenced
from rat_fsm.stores.nats.link import Unreachable, now
from rat_fsm.stores.nats.refusals import Refusal
from rat_fsm.stores.port import Slot

if TYPE_CHECKING:
    from collections.abc import Collection

    from rat_fsm.stores.nats.link import Link
    from rat_fsm.stores.nats.messages import Message
    from rat_fsm.stores.nats.streams import Stream

RENEWALS: Final = 3  # in one lease
IN_FLIGHT_INTERVAL: Final = 0.02


class Entry(msgspec.Struct):
    """What the message of a slot says.

    Attributes:
        writer: the slot's name, which the subject may only have hashed.
        epoch: how often it has been taken.
        token: random, so that a holder knows its own messages.
        lease: for how many microseconds it is held; 0 where it was given back.
    """

    writer: str
    epoch: int
    token: str
    lease: int


@attrs.define
class Lease:
    """A slot that this process holds, or has lost.

    Attributes:
        subject: where its messages are.
        entry: what they say.
        sequence: of the last of them.
        renewed: when that one was sent, by `now`.
        lost: whether somebody else has taken it.
        keeping: the task that renews it.
    """

    subject: str
    entry: Entry
    sequence: int
    renewed: float
    lost: bool = False
    keeping: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """For how long each renewal counts."""
        return self.entry.lease / 1_000_000


class Slots:
    """The slots of a log, and those that this process holds."""

    def __init__(self, stream: Stream, lease: float) -> None:
        self._stream = stream
        self._lease = round(lease * 1_000_000)
        self._token = secrets.token_hex(8)
        self._taking = asyncio.Lock()
        self.held: dict[str, Lease] = {}

    async def take(self, link: Link, writer: str | None, avoid: Collection[str] = ()) -> str:
        """Takes a slot; None takes the lowest of w0, w1, … that is free, and none to avoid.

        Raises:
            WriterBusy: somebody holds it.
        """
        if writer is not None:
            return await self._take(link, writer)
        number = 0
        while True:
            name = f"w{number}"
            if name not in avoid:
                with contextlib.suppress(WriterBusy):
                    return await self._take(link, name)
            number += 1

    async def _take(self, link: Link, writer: str) -> str:
        async with self._taking:  # another claim of ours would take its messages for lost answers
            while True:
                lease = await self._free(link, writer)
                if await self._write(link, lease, lease.entry):
                    break
            self.held[writer] = lease
            lease.keeping = asyncio.create_task(self._keep(link, lease))
            return writer

    async def _free(self, link: Link, writer: str) -> Lease:
        """A lease on a slot that nobody holds now, to be written.

        Raises:
            WriterBusy: somebody holds it.
        """
        subject = self._stream.subject(writer)
        last = await self._stream.last(link, subject)
        if last is None:
            return Lease(subject, Entry(writer, 1, self._token, self._lease), 0, now())
        entry = _entry(last)
        if self._is_ours(entry):
            epoch = entry.epoch
        elif await self._runs(link, last, entry):
            raise WriterBusy(f"writer {writer} of {link.address.url} is in use by another log")
        else:
            epoch = entry.epoch + 1
        return Lease(subject, Entry(writer, epoch, self._token, self._lease), last.sequence, now())

    def _is_ours(self, entry: Entry) -> bool:
        """Whether we took a slot by a message whose answer was lost."""
        return entry.lease > 0 and entry.token == self._token and entry.writer not in self.held

    async def _runs(self, link: Link, last: Message, entry: Entry) -> bool:
        """Whether a lease has not ended, by the clock of the servers."""
        if not entry.lease:
            return False
        state = await self._stream.state(link)
        return _microseconds(state.at) - _microseconds(last.at) < entry.lease

    async def _put(self, link: Link, lease: Lease, entry: Entry) -> bool:
        """Writes the next message of a slot of ours; False where somebody has taken it since.

        A message of our own, whose answer was lost, is known by its token.
        """
        while not await self._write(link, lease, entry):
            last = await self._stream.last(link, lease.subject)
            if last is not None and _is_later(_entry(last), entry):
                return False
            lease.sequence = 0 if last is None else last.sequence
        return True

    async def _write(self, link: Link, lease: Lease, entry: Entry) -> bool:
        """Writes a slot's next message once; False where what is last has to be looked at.

        That may be this very message, or the one that was expected, while another is on its way
        through the cluster.
        """
        payload, sent = json.dumps(msgspec.to_builtins(entry)).encode(), now()
        try:
            lease.sequence = await self._stream.publish(
                link, lease.subject, payload, lease.sequence
            )
        except (Unreachable, PermissionError):
            raise
        except OSError as problem:
            if isinstance(problem, Refusal) and not problem.undecided:
                raise
            await asyncio.sleep(IN_FLIGHT_INTERVAL)
            return False
        lease.renewed = sent
        return True

    async def _keep(self, link: Link, lease: Lease) -> None:
        while not lease.lost:
            await asyncio.sleep(lease.seconds / RENEWALS)
            try:
                await self.renew(link, lease)
            except OSError:
                continue  # until the lease has ended, nobody can take the slot

    async def renew(self, link: Link, lease: Lease) -> None:
        """Makes a lease count from now on, or finds that it is lost."""
        if not lease.lost:
            lease.lost = not await self._put(link, lease, lease.entry)

    async def ensure(self, link: Link, writer: str) -> None:
        """Before an append: that a slot which this process took is still its own.

        Raises:
            WriterFenced: it is somebody else's now.
            OSError: it may be, and nobody answers.
        """
        lease = self.held.get(writer)
        if lease is None:
            return
        if now() - lease.renewed >= lease.seconds:
            await self.renew(link, lease)
        if lease.lost:
            raise WriterFenced(
                f"the lease on writer {writer} of {link.address.url} ended, and somebody took it"
            )

    def holds(self, writer: str) -> bool:
        """Whether this process took a slot, and nobody has said that it is somebody else's."""
        lease = self.held.get(writer)
        return lease is not None and not lease.lost

    async def give_back(self, link: Link, writer: str) -> None:
        """Lets go of a slot."""
        lease = self.held.pop(writer, None)
        if lease is None:
            return
        if lease.keeping is not None:
            lease.keeping.cancel()
        if not lease.lost:
            await self._put(link, lease, msgspec.structs.replace(lease.entry, lease=0))

    async def all(self, link: Link) -> dict[str, Slot]:
        """Every slot that was ever taken."""
        at = _microseconds((await self._stream.state(link)).at)
        lasts = await self._stream.lasts(link)
        return {slot.writer: slot for slot in (_slot(last, at) for last in lasts)}


def _is_later(last: Entry, entry: Entry) -> bool:
    """Whether somebody else has taken a slot; a server that lost power may show one before."""
    return last.token != entry.token and last.epoch >= entry.epoch


def _entry(message: Message) -> Entry:
    try:
        return msgspec.json.decode(message.data, type=Entry)
    except msgspec.MsgspecError as problem:
        raise StoreUnreadable(f"what stands in place of a slot is none: {problem}") from None


def _slot(message: Message, at: int) -> Slot:
    entry, seen = _entry(message), _microseconds(message.at)
    return Slot(entry.writer, entry.epoch, held=at - seen < entry.lease, seen=seen)


def _microseconds(at: str) -> int:
    """A time of the servers, RFC 3339 in UTC with up to nine decimals, since the epoch."""
    seconds, _, fraction = at.rstrip("Z").partition(".")
    whole = datetime.datetime.fromisoformat(f"{seconds}+00:00")
    return int(whole.timestamp()) * 1_000_000 + int(fraction[:6].ljust(6, "0"))

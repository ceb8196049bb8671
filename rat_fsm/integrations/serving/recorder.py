"""What an adapter does that wraps handlers: lets clients in, records them, ends them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.integrations.serving.choices import drain_policy, excluder, key_of, predicate
from rat_fsm.integrations.serving.gate import Refusal
from rat_fsm.integrations.serving.watch import Watch
from rat_fsm.runtime.arguments import MAX_ADDRESS, check_positive

if TYPE_CHECKING:
    from rat_fsm.integrations.serving.choices import PathOf
    from rat_fsm.integrations.serving.member import Member
    from rat_fsm.integrations.serving.service import Service
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.runtime.shutdown import ShutdownReport

_log: Final = logging.getLogger("rat_fsm")


class Recorder:
    """The part that adapters for servers with handlers share; each documents its arguments.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """

    def __init__(
        self,
        service: Service,
        path_of: PathOf,
        *,
        limits_clients: bool,
        client_key: Any,
        stall_after: float,
        idle_timeout: float | None,
        max_lifetime: float | None,
        heartbeat: float | None,
        on_drain: Any,
        exclude: Any,
        records_every_message: bool,
    ) -> None:
        if limits_clients and client_key is None:
            raise InvalidArgument(
                "max_per_client needs client_key, a function that says whose connection it is"
            )
        self._client_key = None if client_key is None else predicate(client_key, "client_key")
        self._policy = drain_policy(on_drain, path_of)
        self._excluded = excluder(exclude, path_of)
        self._service = service
        self.members = service.members
        self.records_every_message = records_every_message
        self._watch = Watch(
            self.members,
            check_positive(stall_after, "stall_after"),
            _seconds(idle_timeout, "idle_timeout"),
            _seconds(max_lifetime, "max_lifetime"),
            _seconds(heartbeat, "heartbeat"),
        )

    @property
    def manager(self) -> ConnectionManager:
        """Where connections are recorded."""
        return self._service.manager

    @property
    def ready(self) -> bool:
        """For a readiness probe: False from a drain's first moment on, and while the log fails."""
        return self._service.ready

    @property
    def draining(self) -> bool:
        """Whether a drain was asked for."""
        return self._service.draining

    @property
    def telling(self) -> bool:
        """Whether what begins now should end at once."""
        return self._service.telling

    def begin_drain(self, requested_by: str = "") -> None:
        """Starts a drain and returns; from any thread."""
        self._service.begin_drain(requested_by)

    async def drain(self, requested_by: str = "") -> ShutdownReport:
        """Ends every stream and waits for the rest, at most ``drain_timeout``.

        What does not end by itself is cut off, visibly. It happens once, and later calls get the
        same report.
        """
        return await self._service.drain(requested_by)

    def status(self) -> dict[str, Any]:
        """How this process stands, as plain JSON: phase, progress, limits, and who is left."""
        return self._service.status()

    def _is_excluded(self, subject: Any) -> bool:
        return self._excluded is not None and bool(self._excluded(subject))

    def _admit(self, member: Member, kind: str) -> Refusal | None:
        """Lets a client in and registers its connection; its slot is given back when it leaves."""
        self._identify(member)
        refusal = self._service.gate.claim(member.key, member.identity)
        if refusal is None:
            member.claimed = True
            refusal = self._open(member, kind)
            if refusal is not None:
                self.leave(member)
        return refusal

    def _identify(self, member: Member) -> None:
        if self._client_key is not None:
            member.key = key_of(self._client_key(member.subject))
        member.identity = member.key or (member.address, member.about["path"])

    def _shut_out(self, member: Member) -> Refusal | None:
        """Turns away a client that was told to stay out, where no limit is asked."""
        if not self._service.gate.shuts_out:
            return None
        self._identify(member)
        return self._service.gate.shut_out(member.identity)

    def _open(self, member: Member, kind: str, *, admitted: bool = False) -> Refusal | None:
        answer = self._service.open(kind, member.address, member.about, admitted=admitted)
        if isinstance(answer, Refusal):
            return answer
        member.connection = answer
        member.began = member.last_move = member.last_sent = member.loop.time()
        answer.serve(member)
        self._watch.wake()
        return None

    # What members ask of it.

    def register_late(self, member: Member, kind: str) -> bool:
        """Records a response that turned out to be a stream; it is being served already."""
        self._identify(member)
        if self._open(member, kind, admitted=True) is not None:
            _log.warning("a stream of %s goes unrecorded: the log is unavailable", kind)
            return False
        return True

    def activate(self, member: Member) -> None:
        """A handshake is done, or a response has begun; what comes late to a drain ends soon."""
        if member.connection is not None:
            member.connection.activated(member.route)
        if self._service.telling:
            member.loop.call_soon(member.drain)

    def closes_at_drain(self, member: Member) -> bool:
        """Whether a drain ends this connection, or lets it finish."""
        route = "" if member.connection is None else member.connection.route
        return self._policy(route, member.subject) == "close"

    def leave(self, member: Member) -> None:
        """It is not served any more."""
        self._service.leave(member)
        if member.claimed:
            member.claimed = False
            self._service.gate.release(member.key)

    def keep_out(self, member: Member) -> None:
        """Turns its client away at its next attempt."""
        self._service.gate.keep_out(member.identity)


def address_of(peer: Any) -> str:
    """The address of a socket's peer as it is recorded: a Unix socket's has none."""
    host = peer[0] if isinstance(peer, tuple) and peer else peer
    return str(host)[:MAX_ADDRESS] if host else ""


def _seconds(value: float | None, what: str) -> float | None:
    return None if value is None else check_positive(value, what)

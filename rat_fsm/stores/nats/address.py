"""What a ``nats:`` URL says: where the servers are, which stream, how to get in, our options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from rat_fsm.errors import InvalidArgument
from rat_fsm.stores.credentials import HIDDEN, SHORTEST, check_escaped, scrubbed
from rat_fsm.stores.nats.access import Access, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_REPLICAS: Final = 5
MIN_LEASE: Final = 0.2
DEFAULT_LEASE: Final = 15.0
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")


@attrs.frozen
class Address:
    """A log on JetStream.

    Attributes:
        servers: ``host:port``, one at least.
        stream: the name of the stream that keeps the frames.
        access: how to get in.
        lease: how many seconds a slot is held without being renewed.
        replicas: on how many servers each frame is kept; None takes what is there, or one.
        max_bytes: how large the stream may grow; None takes what is there, or the default.
        worm: whether the stream shall refuse for ever that anything in it is deleted.
        domain: the JetStream domain; None where the servers have none.
        monitors: the URLs of the servers' monitoring ports, to ask how often they sync.
        given: the URL as it was given, with whatever is secret in it.
    """

    servers: tuple[str, ...]
    stream: str
    access: Access = attrs.field(factory=Access, repr=False)
    lease: float = DEFAULT_LEASE
    replicas: int | None = None
    max_bytes: int | None = None
    worm: bool = False
    domain: str | None = None
    monitors: tuple[str, ...] = ()
    given: str = attrs.field(default="", repr=False)

    @property
    def url(self) -> str:
        """The address without credentials and options."""
        return f"nats://{','.join(self.servers)}/{self.stream}"

    def scrubbed(self, problem: BaseException) -> str:
        """What a problem says, without what is secret in the URL or comes from elsewhere."""
        said = str(problem) or type(problem).__name__
        for secret in (self.access.password, self.access.user):
            if secret is not None and len(secret) >= SHORTEST:
                said = said.replace(secret, HIDDEN)
        return scrubbed(said, self.given)


def parse(url: str) -> Address:
    """Reads ``nats://host:port[,host:port…]/stream[?option=value…]``.

    What the URL does not say of how to get in comes from the environment.

    Raises:
        InvalidArgument: it is no such URL, or has an option that there is not; the message
            repeats nothing of it that may be secret.
    """
    check_escaped(url)
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise InvalidArgument("this nats: URL cannot be read") from None
    userinfo, _, hosts = parts.netloc.rpartition("@")
    stream = unquote(parts.path.strip("/"))
    if not _STREAM.fullmatch(stream):
        raise InvalidArgument(
            "a nats: URL ends with the name of a stream, of letters, digits, _ and -, such as "
            "nats://127.0.0.1:4222/events"
        )
    options = _options(pairs)
    access = access_of(userinfo, options)
    options["monitors"] = options.pop("monitor", ())
    return Address(_servers(hosts), stream, access, given=url, **options)


def _servers(hosts: str) -> tuple[str, ...]:
    servers = tuple(host if _has_port(host) else f"{host}:4222" for host in hosts.split(","))
    for server in servers:
        try:
            found = urlsplit(f"nats://{server}")
            valid = bool(found.hostname) and found.port is not None
        except ValueError:
            valid = False
        if not valid:
            raise InvalidArgument(
                "a nats: URL names its servers: nats://host:port,host:port/stream"
            )
    return servers


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _options(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise InvalidArgument(f"a nats: URL has no option {name!r}; there are {known}")
        try:
            found[name] = _READERS[name](value)
        except ValueError as problem:
            raise InvalidArgument(f"the option {name} of a nats: URL: {problem}") from None
    return found


def _replicas(value: str) -> int:
    if value.isdecimal() and 1 <= int(value) <= MAX_REPLICAS:
        return int(value)
    raise ValueError(f"it is a number from 1 to {MAX_REPLICAS}, such as 3")


def _bytes(value: str) -> int:
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("it is a number of bytes, such as 10737418240")


def _lease(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if MIN_LEASE <= seconds < float("inf"):
        return seconds
    raise ValueError(f"it is a number of seconds, at least {MIN_LEASE}")


def _flag(value: str) -> bool:
    if value in {"0", "1"}:
        return value == "1"
    raise ValueError("it is 0 or 1")


def _monitors(value: str) -> tuple[str, ...]:
    found = tuple(value.split(","))
    if all(one.startswith(("http://", "https://")) for one in found):
        return found
    raise ValueError(
        "it is the URL of a monitoring port, such as http://127.0.0.1:8222, or several"
    )


def _text(value: str) -> str:
    if value:
        return value
    raise ValueError("it is empty")


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "replicas": _replicas,
    "max_bytes": _bytes,
    "lease": _lease,
    "worm": _flag,
    "domain": _text,
    "monitor": _monitors,
    "creds": _text,
    "nkey": _text,
    "tlsca": _text,
    "tlscert": _text,
    "tlskey": _text,
}

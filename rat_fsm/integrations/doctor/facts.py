"""What the doctor judges: the server, the application and the numbers, as plain values."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS: Final = ("uvicorn", "granian", "hypercorn", "gunicorn", "daphne")
LIFESPANS: Final = ("on", "off", "absent", None)
LOGS: Final = ("memory", "shared", None)
UNLIMITED: Final = math.inf
_OURS: Final = "rat_fsm.integrations.asgi"


def _not_negative(_: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value >= 0:  # which NaN is not, either
        raise InvalidArgument(f"{attribute.name} must be a number from 0, not {value!r}")


def _finite(_: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise InvalidArgument(f"{attribute.name} must be a number of seconds, not {value!r}")


def _one_of(choices: tuple[str | None, ...]) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: str | None) -> None:
        if value not in choices:
            raise InvalidArgument(f"{attribute.name} must be one of {choices}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class Server:
    """A server, as it runs or would run. None stands for what is not known.

    Attributes:
        name: uvicorn, granian, hypercorn, gunicorn, daphne, or another.
        version: empty where it is not known.
        worker: what serves inside it where there is a choice, such as uvicorn, asgi or sync in
            gunicorn and asyncio, uvloop or trio in hypercorn.
        workers: how many processes serve; 0 where hypercorn serves in its own.
        lifespan: on, off (switched off) or absent (none came).
        main_thread: whether the application runs in the main thread.
        signals: whether SIGTERM reaches the process that serves.
        loop: asyncio, uvloop, trio, ….
        timeout: seconds that it waits at its end for connections, `UNLIMITED` for any time.
    """

    name: str
    version: str = ""
    worker: str = ""
    workers: int | None = attrs.field(default=None, validator=_not_negative)
    lifespan: str | None = attrs.field(default=None, validator=_one_of(LIFESPANS))
    main_thread: bool | None = None
    signals: bool | None = None
    loop: str = ""
    timeout: float | None = attrs.field(default=None, validator=_not_negative)

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}".rstrip()

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers that its version begins with."""
        return release_of(self.version)

    @property
    def runs_uvicorn(self) -> bool:
        """Whether uvicorn serves, by itself or as a worker of gunicorn."""
        return "uvicorn" in {self.name, self.worker}

    @property
    def hears_signals(self) -> bool:
        """Whether SIGTERM can start a drain here, as far as one knows.

        hypercorn's worker processes never get one.
        """
        in_worker = self.name == "hypercorn" and bool(self.workers)
        return not in_worker and self.signals is not False and self.main_thread is not False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        timeout = "unlimited" if self.timeout == UNLIMITED else self.timeout
        return {**attrs.asdict(self), "timeout": timeout}


@attrs.frozen
class Layer:
    """One application in another: a middleware, a framework, a function.

    Attributes:
        name: of its class.
        module: where that was defined.
        bases: the names of all classes it derives from.
        options: what it was told, as far as that matters here.
    """

    name: str
    module: str = ""
    bases: tuple[str, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it is the middleware that records streams."""
        return self.module.startswith(_OURS) and self.name == "StreamingMiddleware"


@attrs.frozen
class Application:
    """What an ASGI application is made of.

    Attributes:
        name: as the user calls it.
        layers: from the outermost inwards.
        mounted: whether the middleware was found in an application mounted in another.
        whole: whether the first layer is what the server calls.
    """

    name: str
    layers: tuple[Layer, ...] = ()
    mounted: bool = False
    whole: bool = True

    @property
    def ours(self) -> Layer | None:
        """The middleware that records streams, None where it is in none of the layers."""
        return next((layer for layer in self.layers if layer.is_ours), None)

    @property
    def outside(self) -> tuple[Layer, ...]:
        """The layers round that middleware."""
        ours = self.ours
        return () if ours is None else self.layers[: self.layers.index(ours)]

    @property
    def inside(self) -> tuple[Layer, ...]:
        """The layers within it; all of them where it is missing."""
        ours = self.ours
        return self.layers if ours is None else self.layers[self.layers.index(ours) + 1 :]


@attrs.frozen(kw_only=True)
class Facts:
    """Everything that `examine` goes by.

    Attributes:
        installed: the version of each distribution that matters and is there.
        python: the interpreter's version.
        platform: as `sys.platform` has it.
        server: what serves, None where that is not known.
        application: what is served, None where that is not known.
        drain_timeout: seconds that connections have to end by themselves in a drain.
        lame_duck: seconds before that in which new ones are still let in.
        grace: seconds from SIGTERM (or preStop) to SIGKILL, None where it is not known.
        signals: whether the middleware is to start a drain at SIGTERM.
        log: memory, shared (other processes can write it too), None where it is not known.
        per_client: whether connections are limited for each client.
    """

    installed: Mapping[str, str] = attrs.field(factory=dict)
    python: str = ""
    platform: str = ""
    server: Server | None = None
    application: Application | None = None
    drain_timeout: float = attrs.field(default=30.0, validator=_finite)
    lame_duck: float = attrs.field(default=0.0, validator=_finite)
    grace: float | None = attrs.field(default=None, validator=_finite)
    signals: bool = True
    log: str | None = attrs.field(default=None, validator=_one_of(LOGS))
    per_client: bool = False

    @property
    def needed(self) -> float:
        """Seconds from the request for a drain to its deadline."""
        return self.lame_duck + self.drain_timeout

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; of the application its name and the names of its layers."""
        names = attrs.fields_dict(Facts)
        plain = {name: getattr(self, name) for name in names if name != "application"}
        application = self.application
        return {
            **plain,
            "installed": dict(self.installed),
            "server": None if self.server is None else self.server.as_dict(),
            "application": None if application is None else application.name,
            "layers": [layer.name for layer in application.layers] if application else [],
        }


def release_of(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``0.54.0rc1`` is (0, 54, 0)."""
    found = re.match(r"\d{1,9}(?:\.\d{1,9})*", version)
    return () if found is None else tuple(int(part) for part in found[0].split("."))

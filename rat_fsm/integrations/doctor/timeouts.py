"""Rules about the three clocks: the drain's, the server's, and that of whoever sends SIGKILL.

On most servers all start at the signal, and the drain must end before the server's patience, and
that before the grace period. uvicorn's own starts when the drain is over, as its handler gets the
signal then; so does that of a server that is told to end after a drain. There the two add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.doctor.facts import UNLIMITED
from rat_fsm.integrations.doctor.findings import Finding
from rat_fsm.integrations.doctor.servers import ignores_graceful_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.integrations.doctor.facts import Facts, Server

MARGIN: Final = 5.0
OPTIONS: Final = {
    "uvicorn": "--timeout-graceful-shutdown",
    "granian": "--workers-kill-timeout",
    "hypercorn": "--graceful-timeout",
    "gunicorn": "--graceful-timeout",
}


def _order(facts: Facts) -> Iterator[Finding]:
    needed, grace, limit = facts.needed, facts.grace, _limit(facts)
    after = _counts_from_the_drain(facts)
    in_time = limit is not None and (after or limit > needed)
    if limit is not None and not in_time:
        yield _cut_by_server(facts, limit)
    last = needed + limit if after and limit is not None else limit
    if grace is not None and grace <= needed:
        yield _cut_by_grace(facts, grace)
    elif grace is not None and last is not None and grace <= last < UNLIMITED:
        yield _server_cut_by_grace(facts, grace, last)
    elif in_time:
        yield _in_order(facts, after=after)


def _limit(facts: Facts) -> float | None:
    """How long the server waits, in fact."""
    server = facts.server
    if server is None or server.name == "daphne":  # which waits for nothing, see its rule
        return None
    return UNLIMITED if ignores_graceful_timeout(facts, server) else server.timeout


def _counts_from_the_drain(facts: Facts) -> bool:
    """Whether the server's clock starts when the drain is over.

    gunicorn's is its arbiter's, whatever its workers do.
    """
    server = facts.server
    if server is None:
        return False
    return server.name == "uvicorn" or not (server.hears_signals and facts.signals)


def _needs(facts: Facts) -> str:
    if not facts.lame_duck:
        return f"the drain needs up to {facts.drain_timeout:g} s"
    return (
        f"lame duck and drain need up to {facts.lame_duck:g} + {facts.drain_timeout:g} = "
        f"{facts.needed:g} s"
    )


def _name(server: Server | None) -> str:
    return "the server" if server is None else server.name


def _option(server: Server | None) -> str:
    name = _name(server)
    return OPTIONS.get(name, f"the timeout of {name}")


def _cut_by_server(facts: Facts, limit: float) -> Finding:
    room = max(limit - MARGIN, 0.0)
    return Finding(
        "drain_cut_by_server",
        "problem",
        f"{_needs(facts)}, and {_name(facts.server)} ends after {limit:g} s: what is still "
        "served then is cut off, unannounced",
        f"set {_option(facts.server)} to {facts.needed + MARGIN:g} or more, or drain_timeout "
        f"and lame_duck to {room:g} or less together",
    )


def _cut_by_grace(facts: Facts, grace: float) -> Finding:
    return Finding(
        "drain_cut_by_grace",
        "problem",
        f"{_needs(facts)}, and SIGKILL comes after {grace:g} s: what is still served then is cut "
        "off, and the next start of the log has to end it",
        f"set the grace period (terminationGracePeriodSeconds, TimeoutStopSec) to "
        f"{facts.needed + 2 * MARGIN:g} or more, or drain_timeout and lame_duck to less",
    )


def _server_cut_by_grace(facts: Facts, grace: float, last: float) -> Finding:
    limit = _limit(facts)
    how = f"{last:g} s" if last == limit else f"{limit:g} s after the drain, {last:g} s in all"
    return Finding(
        "server_cut_by_grace",
        "problem",
        f"{_needs(facts)}, {_name(facts.server)} waits up to {how}, and SIGKILL comes after "
        f"{grace:g} s: the server does not get to its end, nor the lifespan to its shutdown",
        f"set the grace period (terminationGracePeriodSeconds, TimeoutStopSec) to "
        f"{last + MARGIN:g} or more, or {_option(facts.server)} to less",
    )


def _in_order(facts: Facts, *, after: bool) -> Finding:
    limit, name = _limit(facts), _name(facts.server)
    if limit == UNLIMITED:
        patience = f"{name} waits for it without limit"
    else:
        patience = f"{name} waits {limit:g} s from the {'end of it' if after else 'signal'} on"
    kill = "" if facts.grace is None else f", and SIGKILL comes after {facts.grace:g} s"
    return Finding("timeouts_in_order", "ok", f"{_needs(facts)}, {patience}{kill}: in this order")


def _short(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    limit = _limit(facts)
    if server is None or server.name != "uvicorn" or limit is None or limit > facts.needed:
        return
    yield Finding(
        "uvicorn_clock",
        "note",
        f"{_needs(facts)}, and uvicorn's timeout is {limit:g} s: no harm, as uvicorn starts to "
        "count when the drain is over",
        "nothing to do where signals end uvicorn; where --limit-max-requests does, no drain comes "
        "first, and streams are cut off after this timeout",
    )


def _unknown(facts: Facts) -> Iterator[Finding]:
    if facts.grace is None:
        yield Finding(
            "grace_unknown",
            "note",
            "how long after SIGTERM comes SIGKILL is not known here (Kubernetes: 30 s, counted "
            "from preStop; docker stop: 10 s; systemd: 90 s)",
            "have it checked: rat-fsm doctor --grace SECONDS",
        )
    if facts.server is not None and _limit(facts) is None and facts.server.name != "daphne":
        yield Finding(
            "server_timeout_unknown",
            "note",
            f"how long {_name(facts.server)} waits at its end is not known here",
            f"have it checked: rat-fsm doctor --server-timeout SECONDS ({_option(facts.server)})",
        )


RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (_order, _short, _unknown)

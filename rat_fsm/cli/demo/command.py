"""The command `rat-fsm demo`."""

from __future__ import annotations

import asyncio
import json
import shlex
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rat_fsm.cli.text import counted, size
from rat_fsm.errors import MissingExtra
from rat_fsm.log import EventLog
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from rat_fsm.cli.demo.run import Result


@click.command(name="demo")
@click.option("--clients", default=100, show_default=True, type=click.IntRange(1, 5000),
              help="How many clients connect, again and again.")  # fmt: skip
@click.option("--duration", default=None, type=click.FloatRange(min=0.5),
              help="Seconds until the server drains; without it, until Ctrl-C.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Of what the clients do.")
@click.option("--log", "url", default="events.db", show_default=True,
              help="Where to record; a bare path means SQLite.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end only.")
def command(clients: int, duration: float | None, seed: int, url: str, *, as_json: bool) -> None:
    """Run a real SSE server with real clients, record it, drain it and replay the record.

    Some clients vanish without a word, some stop reading, some read from an upstream that breaks,
    and some come when the server is full. Exits with 1 if the replay differs from what was live.
    """
    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise MissingExtra("the demo", "all")
    from rat_fsm.cli.demo.run import Demo
    from rat_fsm.cli.demo.view import View

    console = Console()

    async def run() -> Result:
        demo = Demo(EventLog.open(url), clients, duration, seed)
        with View(console, demo, quiet=as_json) as view:
            return await demo.run(view)

    result = asyncio.run(run())
    if as_json:
        click.echo(json.dumps(_as_json(url, result)))
    else:
        _print(console, url, result)
    if not result.equal:
        raise click.exceptions.Exit(1)


def _as_json(url: str, result: Result) -> dict[str, object]:
    return {
        "log": url,
        "events": result.events,
        "replay_equals_live": result.equal,
        "stats": result.stats,
        "clients": result.outcomes,
    }


def _print(console: Console, url: str, result: Result) -> None:
    report = result.report
    console.print(
        f"Drained {counted(report.total, 'connection')} in {report.duration:.1f} s: "
        f"{report.ended} ended by themselves, {report.forced} were forced."
    )
    console.print(_table(result))
    verdict = "equals what was live" if result.equal else "DIFFERS from what was live"
    console.print(
        Text(
            f"Replayed {result.events:,} events in {result.replay_time:.2f} s: "
            f"the replay {verdict}.",
            style="bold green" if result.equal else "bold red",
        )
    )
    log = shlex.quote(escape(url))
    console.print("\nWhat to type next:")
    for line in ("log {} --limit 20", "stats {}", "verify {}"):
        console.print(f"  rat-fsm {line.format(log)}", highlight=False, soft_wrap=True)


def _table(result: Result) -> Table:
    stats = result.stats
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "connections", f"{stats['total_connections']}, at most {stats['peak_connections']} at once"
    )
    table.add_row("turned away", _counts(stats["refused_by_cause"]))
    table.add_row("ended", _counts(stats["closed_by_reason"]))
    table.add_row(
        "sent", f"{stats['total_messages_sent']:,} messages, {size(stats['total_bytes_sent'])}"
    )
    table.add_row(
        "errors",
        f"{stats['total_errors']}, {counted(stats['total_retries'], 'retry')}, "
        f"{stats['total_recoveries']} recovered",
    )
    table.add_row("clients", _counts(result.outcomes))
    return table


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{escape(name)} {count}" for name, count in ordered) or "none"

"""What the demo shows while it runs: states, rates and the latest events."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rat_fsm.cli.render import STATE_STYLES
from rat_fsm.cli.text import clock, size
from rat_fsm.cli.words import describe, label, style_of_event
from rat_fsm.events import ActivityRecorded
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from rich.console import Console

    from rat_fsm.cli.demo.run import Demo
    from rat_fsm.events import Recorded

LATEST: Final = 10
LINE_INTERVAL: Final = 1.0


class View:
    """Shows a running demo: in place on a terminal, a line a second elsewhere.

    Args:
        console: where to.
        demo: what is shown.
        quiet: show nothing.
    """

    def __init__(self, console: Console, demo: Demo, *, quiet: bool) -> None:
        self._console = console
        self._demo = demo
        self._quiet = quiet
        self._latest: deque[Recorded] = deque(maxlen=LATEST)
        self._seen = (time.monotonic(), 0, 0)
        self._rates = (0.0, 0.0)
        self._printed = 0.0
        live = console.is_terminal and not quiet
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None

    def __enter__(self) -> Self:
        """Starts showing."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leaves the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def update(self, recorded: list[Recorded]) -> None:
        """Shows the present, and what was recorded since."""
        self._latest.extend(r for r in recorded if not isinstance(r.event, ActivityRecorded))
        stats = self._demo.manager.get_stats()
        self._measure(stats)
        if self._live is not None:
            self._live.update(self._screen(stats), refresh=True)
        elif not self._quiet and time.monotonic() - self._printed >= LINE_INTERVAL:
            self._printed = time.monotonic()
            self._console.print(self._line(stats), highlight=False, soft_wrap=True)

    def _measure(self, stats: dict[str, Any]) -> None:
        now, sent, messages = (
            time.monotonic(),
            stats["total_bytes_sent"],
            stats["total_messages_sent"],
        )
        before, sent_before, messages_before = self._seen
        elapsed = now - before
        if elapsed >= LINE_INTERVAL / 2:
            self._rates = ((messages - messages_before) / elapsed, (sent - sent_before) / elapsed)
            self._seen = (now, sent, messages)

    def _line(self, stats: dict[str, Any]) -> Text:
        states = "  ".join(
            f"{state} {count}" for state, count in stats["state_distribution"].items()
        )
        messages, sent = self._rates
        return Text(
            f"{self._demo.phase:<8} {states}  closed {stats['closed_connections']}  "
            f"refused {stats['refused_connections']}  {messages:.0f} messages/s  "
            f"{size(round(sent))}/s"
        )

    def _screen(self, stats: dict[str, Any]) -> Group:
        return Group(self._summary(stats), self._states(stats), self._events())

    def _summary(self, stats: dict[str, Any]) -> Text:
        text = Text()
        text.append(f" {self._demo.phase} ", style="reverse bold")
        text.append(f"  {self._demo.countdown()}   {self._demo.log.url}   ")
        text.append(f"{stats['total_connections']} connections so far", style="dim")
        return text

    def _states(self, stats: dict[str, Any]) -> Table:
        table = Table.grid(padding=(0, 2))
        limit = stats["max_connections"] or 1
        for state, count in stats["state_distribution"].items():
            bar = "█" * round(40 * count / limit) or ("▏" if count else "")
            table.add_row(Text(state), Text(f"{count:>5}"), Text(bar, style=STATE_STYLES[state]))
        messages, sent = self._rates
        reasons = sorted(stats["closed_by_reason"].items(), key=lambda item: -item[1])
        table.add_row(
            Text("closed"),
            Text(f"{stats['closed_connections']:>5}"),
            Text(", ".join(f"{escape(reason)} {count}" for reason, count in reasons), style="dim"),
        )
        table.add_row(
            Text("refused"),
            Text(f"{stats['refused_connections']:>5}"),
            Text(f"{messages:,.0f} messages/s, {size(round(sent))}/s", style="dim"),
        )
        return table

    def _events(self) -> Panel:
        """What changed; activity is in the rates already, and would crowd out the rest."""
        table = Table.grid(padding=(0, 2), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for recorded in self._latest:
            table.add_row(
                Text(clock(recorded.micros), style="dim"),
                Text(escape(recorded.stream.id[:12]), style="cyan"),
                Text(label(recorded.type), style=style_of_event(recorded.event)),
                Text(escape(describe(recorded.event)), style="dim"),
            )
        return Panel(table, title="latest changes", border_style="dim", height=LATEST + 2)

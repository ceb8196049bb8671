"""The click group: which commands there are, and what an error looks like.

A command's module is imported when the command runs, and not for the help of the group.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import IO, Any, Final

import click

from rat_fsm.cli.text import without_credentials
from rat_fsm.errors import DamagedFrame, RatFsmError
from rat_fsm.runtime.escaping import escape

FOUND: Final = 1
ERROR: Final = 2
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141  # what a shell reports for a program that SIGPIPE ended

# Name → module with a click command called `command`, and the line that `--help` says about it.
COMMANDS: Final = {
    "demo": ("rat_fsm.cli.demo.command", "Record a real server with real clients, and replay it."),
    "log": ("rat_fsm.cli.log", "Print the events of a log, and follow it."),
    "history": ("rat_fsm.cli.history", "Tell what happened to one connection."),
    "find": ("rat_fsm.cli.find", "Find connections by time, client, end, length, route or error."),
    "stats": ("rat_fsm.cli.stats", "Count connections, bytes, errors and how they ended."),
    "writers": ("rat_fsm.cli.writers", "List who writes a log, who lives, and how far each is."),
    "top": ("rat_fsm.cli.top", "Watch the writers of a log and their connections, live."),
    "replay": ("rat_fsm.cli.replay", "Show what was true at any moment, and who was connected."),
    "step": ("rat_fsm.cli.step", "Step through a log, event by event, forward and back."),
    "diff": ("rat_fsm.cli.diff", "Tell in what two logs, or two moments of one, differ."),
    "what-if": ("rat_fsm.cli.what_if", "Ask what another policy, or other limits, would decide."),
    "check": ("rat_fsm.cli.check", "Judge every stream by its lifecycle, or by a changed one."),
    "diagram": (
        "rat_fsm.cli.diagram",
        "Draw a lifecycle, and what the streams of a log did in it.",
    ),
    "to-test": ("rat_fsm.cli.to_test", "Write a stream down as a test that pytest runs."),
    "export": ("rat_fsm.cli.export", "Write a log as frames, JSON Lines, Parquet, Arrow or XES."),
    "import": ("rat_fsm.cli.import_", "Make a log again of exported frames."),
    "copy": ("rat_fsm.cli.copy", "Copy a log into another store, and go on where a copy ended."),
    "drain": ("rat_fsm.cli.drain", "Ask the servers that write a log to drain, and wait for them."),
    "doctor": ("rat_fsm.cli.doctor", "Say what will not work with the servers at hand, and why."),
    "verify": ("rat_fsm.cli.verify", "Recompute the hash chains and name what is damaged."),
    "seal": ("rat_fsm.cli.seal", "Sign what a log is now, so that nobody can change its past."),
    "key": ("rat_fsm.cli.key", "Make and show the keys that logs are sealed with."),
}


class Failure(click.ClickException):
    """An error as one line: no traceback, and no control character that came from a log."""

    exit_code = ERROR

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints it to stderr."""
        line = f"error: {escape(without_credentials(self.message))}"
        click.echo(line, file=file, err=file is None)


class Cli(click.Group):
    """A group that finds its commands in `COMMANDS` and turns errors into lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order a new user would try them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was asked for."""
        _let_output_be_incomplete()
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except RatFsmError as problem:
            raise Failure(_explain(problem)) from problem
        except click.UsageError as problem:
            raise Failure(_corrected(problem)) from problem
        except KeyboardInterrupt:
            _forget_stdout()
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(BROKEN_PIPE)
        return result


def _explain(problem: RatFsmError) -> str:
    hint = "; rat-fsm verify tells what else is" if isinstance(problem, DamagedFrame) else ""
    return f"{problem}{hint}"


def _corrected(problem: click.UsageError) -> str:
    """What was typed wrong, in one line: click's own has three, with the usage before it."""
    path = () if problem.ctx is None else problem.ctx.command_path.split()[1:]
    where = ("rat-fsm", *path)
    return f"{problem.format_message().rstrip('.')}; see {' '.join(where)} --help"


def _let_output_be_incomplete() -> None:
    """A terminal that cannot show an arrow gets its escape, not a UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a test's stream may be none of Python's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _forget_stdout() -> None:
    """So that the interpreter's own flush at exit neither fails nor waits for a reader."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Cli,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all is well, 1 something was found (a bad frame, a difference), "
    "2 an error (no such log, an unknown id), 130 interrupted.",
)
@click.version_option(package_name="rat-fsm", prog_name="rat-fsm", message="%(prog)s %(version)s")
def cli() -> None:
    """Read the logs of rat_fsm, the flight recorder for streaming connections.

    A log is named by its URL: sqlite:events.db, postgresql://host/database or
    nats://host:4222/stream; a bare path means SQLite. Reading changes nothing and works while a
    server is writing.
    """

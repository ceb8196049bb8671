# ruff: noqa: INP001 - scripts of this repository, no package
"""Fills the generated sections of README.md, and draws diagrams/, from the code.

A section stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``. Run without
arguments it writes; ``--check`` writes nothing and fails where something is stale.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import architecture  # noqa: E402 - the checkout comes first
import click  # noqa: E402
import covered  # noqa: E402
import traffic  # noqa: E402
from tables import EXTRAS, GUIDE, STATISTICS  # noqa: E402

import rat_fsm  # noqa: E402
from rat_fsm.cli.app import COMMANDS, cli  # noqa: E402
from rat_fsm.diagrams import __main__ as diagrams  # noqa: E402
from rat_fsm.diagrams import mermaid  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rat_fsm.table import EventType, Lifecycle

README: Final = ROOT / "README.md"
SECTION: Final = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end: (?P=name) -->)",
    re.DOTALL,
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(content: str) -> str:
    return " ".join(content.split()).replace("|", "\\|")


def lifecycle() -> str:
    """The machine of a connection."""
    return f"```mermaid\n{mermaid(rat_fsm.CONNECTION)}```\n"


def events() -> str:
    """The vocabulary of both lifecycles."""
    return "\n".join(
        f"{table([f'`{known.name}.…`', 'from', 'to', 'payload', 'meaning'], _vocabulary(known))}"
        for known in (rat_fsm.CONNECTION, rat_fsm.NODE)
    )


def _vocabulary(known: Lifecycle) -> Iterable[list[str]]:
    for kind in known.events:
        fields = ", ".join(f"`{field}`" for field in kind.fields) or "none"
        meaning = (kind.cls.__doc__ or "").split("\n\n")[0].replace("``", "`")
        yield [f"`{kind.tag.partition('.')[2]}`", *_moves(known, kind), fields, meaning]


def _moves(known: Lifecycle, kind: EventType) -> tuple[str, str]:
    sources = ["(new)" if state == known.initial else state for state in kind.moves]
    targets = set(kind.moves.values())
    stays = all(source == dest for source, dest in kind.moves.items())
    return ", ".join(sources), "unchanged" if stays else ", ".join(sorted(targets))


def errors() -> str:
    """The tree as `rat_fsm.errors` draws it."""
    drawn = [
        line
        for line in (rat_fsm.errors.__doc__ or "").splitlines()
        if line[:1] in {"R", "├", "│", "└", " "}
    ]
    return "```text\n" + "\n".join(drawn) + "\n```\n"


def statistics() -> str:
    """The keys of get_stats()."""
    _same("statistics", STATISTICS, rat_fsm.replay([]).stats.as_dict())
    return table(["key", "meaning"], ([f"`{key}`", told] for key, told in STATISTICS.items()))


def extras() -> str:
    """The extras of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    _same("extras", EXTRAS, optional)
    rows = ([f"`{name}`", told, _packages(optional[name])] for name, told in EXTRAS.items())
    return table(["extra", "for", "brings"], rows)


def _packages(requirements: Iterable[str]) -> str:
    return ", ".join(re.split(r"[>=<~!]", requirement)[0] for requirement in requirements)


def _same(what: str, told: Mapping[str, object], real: Mapping[str, object]) -> None:
    if set(told) != set(real):
        raise ValueError(f"{what} of .ci/tables.py and of the code: {set(told) ^ set(real)}")


def guide() -> str:
    """The guide's names and ours."""
    rows = ([theirs, _ours(name), note] for theirs, name, note in GUIDE)
    return table(["in the guide", "here", "to know"], rows)


def _ours(name: str) -> str:
    """A name of rat_fsm, once it is sure that it exists."""
    if name.startswith("("):
        return name.strip("()")
    if name.partition(".")[0] in {"streaming", "error_handling"}:
        importlib.import_module(f"rat_fsm.{name.partition('.')[0]}")
    attrgetter(name)(rat_fsm)
    return f"`rat_fsm.{name}`"


def commands() -> str:
    """Every command as it explains itself, apart from how click lays that out."""
    context = click.Context(cli, info_name="rat-fsm")
    named = (pair for name in COMMANDS for pair in _told(name, cli.get_command(context, name)))
    parts = [_command(name, command) for name, command in named]
    return "\n".join([*parts, f"{cli.epilog}\n"])


def _told(name: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    """A command and those below it, each by the words that call it."""
    if command is not None:
        yield name, command
    if isinstance(command, click.Group):
        for below, inner in command.commands.items():
            yield from _told(f"{name} {below}", inner)


def _command(name: str, command: click.Command) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    usage = " ".join(["rat-fsm", name, *map(_argument, arguments)])
    about = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    rows = [[_option(option), _meaning(option)] for option in options]
    listed = f"\n{table(['option', 'meaning'], rows)}" if rows else ""
    return f"#### `{usage}`\n\n{about.replace(chr(8), '').strip()}\n{listed}"


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: click.Option) -> str:
    value = "" if option.is_flag or option.count else f" {option.metavar or _kind(option.type)}"
    names = [*option.opts, *option.secondary_opts]
    return f"`{', '.join(sorted(names, key=len))}{value}`"


def _kind(kind: click.ParamType[Any]) -> str:
    """What to type: click's own words for numbers within a range are two, and loud."""
    if isinstance(kind, click.Choice):
        return "|".join(map(str, kind.choices))
    numbers = isinstance(kind, click.types.IntParamType | click.types.FloatParamType)
    return "N" if numbers else kind.name.upper()


def _meaning(option: click.Option) -> str:
    default = f" ({option.default} by default)" if option.show_default else ""
    return (option.help or "").removesuffix(".") + default + "."


def benchmarks() -> str:
    """What `python -m benchmarks` wrote last."""
    results = ROOT / "benchmarks" / "results.md"
    if results.is_file():
        return results.read_text(encoding="utf-8").strip() + "\n"
    return "No results are kept here: `python -m benchmarks` measures on your machine.\n"


GENERATORS: Final[Mapping[str, Callable[[], str]]] = {
    "lifecycle": lifecycle,
    "events": events,
    "errors": errors,
    "statistics": statistics,
    "extras": extras,
    "guide": guide,
    "commands": commands,
    "benchmarks": benchmarks,
}


def filled(readme: str) -> str:
    """The README with every generated section as the code has it now."""
    missing = set(GENERATORS) - {found["name"] for found in SECTION.finditer(readme)}
    if missing:
        raise ValueError(f"README.md has no section for {', '.join(sorted(missing))}")

    def section(found: re.Match[str]) -> str:
        content = GENERATORS[found["name"]]().strip()
        return f"{found['begin']}\n{content}\n\n{found['end']}"

    return SECTION.sub(section, readme)


def main(arguments: list[str]) -> int:
    """Writes, or checks; 1 where something is stale."""
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    drawings = {
        **diagrams.files(),
        **architecture.files(ROOT),
        **traffic.files(),
        **covered.files(),
    }
    folder = ROOT / "diagrams"
    if arguments != ["--check"]:
        README.write_text(after, encoding="utf-8")
        diagrams.write(folder, drawings)
        return 0
    stale = [f"diagrams/{name}" for name in diagrams.stale(folder, drawings)]
    stale += ["README.md"] if before != after else []
    for name in stale:
        sys.stderr.write(f"{name} is stale: run python .ci/readme.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

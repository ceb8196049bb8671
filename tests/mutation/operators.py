"""Makes the mutants of a module: one small change each, as somebody might have got it wrong.

Unlike `mutmut`, which mutates the bodies of functions and leaves out decorated ones, decorated
classes and all that is no function, this changes whatever stands in a module: literals, the
defaults of attrs fields, properties. Annotations, docstrings, imports and the words of error
messages stay: no test should hang on them.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    Change = tuple[ast.AST, str]

_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_OPERATORS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_NONE: Final = "None"


@attrs.frozen
class Mutant:
    """A module with one thing changed.

    Attributes:
        file: the module's path below the project.
        line: where the change is.
        place: the innermost function or class around it, "" where there is none.
        before: that line as it was, without indentation.
        after: what stands there instead, or "" where nothing does.
        source: the whole of the changed module.
    """

    file: str
    line: int
    place: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others, wherever the line has moved."""
        return self.file, self.place, self.before, self.after


class Text:
    """A module's source, in which a node can be replaced.

    `ast` counts columns in bytes of UTF-8.
    """

    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._bytes = source.encode()
        self._places = [
            (node.lineno, node.end_lineno or node.lineno, node.name)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        ]
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def of(self, node: ast.AST) -> str:
        """What stands at a node."""
        start, end = self._span(node)
        return self._bytes[start:end].decode()

    def replace(self, node: ast.AST, new: str) -> Mutant:
        """The module with a node replaced."""
        start, end = self._span(node)
        return self._cut(start, end, new)

    def remove(self, node: ast.AST) -> Mutant:
        """The module without an element of a list, and the comma after it."""
        start, end = self._span(node)
        comma = self._bytes[end:].lstrip()[:1] == b","
        return self._cut(start, self._bytes.index(b",", end) + 1 if comma else end, "")

    def _cut(self, start: int, end: int, new: str) -> Mutant:
        changed = self._bytes[:start] + new.encode() + self._bytes[end:]
        line = sum(first <= start for first in self._starts)
        first = self._starts[line - 1]
        around = [place for place in self._places if place[0] <= line <= place[1]]
        return Mutant(
            file=self._file,
            line=line,
            place=max(around, default=(0, 0, ""))[2],
            before=_line_at(self._bytes, first),
            after=_line_at(changed, first),
            source=changed.decode(),
        )

    def _span(self, node: ast.AST) -> tuple[int, int]:
        at = vars(node)
        start = self._starts[at["lineno"] - 1] + at["col_offset"]
        return start, self._starts[at["end_lineno"] - 1] + at["end_col_offset"]


def _line_at(source: bytes, start: int) -> str:
    return source[start:].split(b"\n", 1)[0].decode().strip()


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a module by the general operators, in the order of its lines."""
    text = Text(file, source)
    found = [text.replace(*change) for change in _changes(ast.parse(source), text)]
    return sorted((one for one in found if one.source != source), key=lambda one: one.line)


def _changes(node: ast.AST, text: Text) -> Iterator[Change]:
    """The changes in a node and below it, without what is not to be mutated."""
    yield from _own_changes(node, text)
    for child in _children(node):
        yield from _changes(child, text)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr)):
        return
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return
    if isinstance(node, ast.ClassDef) and any("Protocol" in ast.dump(base) for base in node.bases):
        return
    hidden = {"annotation", "returns", "type_params"}
    if isinstance(node, ast.Assign) and _assigns(node, "__all__", "__slots__", "__hash__"):
        return
    if isinstance(node, ast.Call) and "_require" in ast.dump(node.func):
        yield node.args[0]
        return
    for name, value in ast.iter_fields(node):
        if name not in hidden:
            parts = value if isinstance(value, list) else [value]
            yield from (p for p in parts if isinstance(p, ast.AST) and not _is_docstring(p))


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _assigns(node: ast.Assign, *names: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id in names for target in node.targets)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _own_changes(node: ast.AST, text: Text) -> Iterator[Change]:
    if isinstance(node, ast.expr):
        yield from _in_expression(node, text)
    elif isinstance(node, ast.stmt):
        yield from _in_statement(node, text)
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not _is_negated_below(node.test):
        yield node.test, f"(not ({text.of(node.test)}))"


def _is_negated_below(test: ast.expr) -> bool:
    """Whether a mutant of the test itself is its negation, or it must stay as it is."""
    return (
        (isinstance(test, ast.Compare) and len(test.ops) == 1)
        or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
        or _is_type_checking(test)
    )


def _in_expression(node: ast.expr, text: Text) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            yield node, f"{text.of(left)} {_COMPARISONS[type(op)]} {text.of(right)}"
        case ast.BoolOp(op=op, values=values):
            other = " or " if isinstance(op, ast.And) else " and "
            yield node, f"({other.join(f'({text.of(value)})' for value in values)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, text.of(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield node, f"{text.of(left)} {_OPERATORS[type(op)]} {text.of(right)}"
        case ast.Constant(value=value):
            yield from ((node, other) for other in _constants(value))


def _in_statement(node: ast.stmt, text: Text) -> Iterator[Change]:
    match node:
        case ast.AugAssign(target=target, op=op, value=value):
            yield node, "pass"
            if type(op) in _OPERATORS:
                yield node, f"{text.of(target)} {_OPERATORS[type(op)]}= {text.of(value)}"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            yield node, "pass"
        case ast.Expr(value=ast.Call()):
            yield node, "pass"
        case ast.Return(value=ast.AST() as value) if text.of(value) != _NONE:
            yield value, _NONE


def _constants(value: object) -> list[str]:
    match value:
        case bool():
            return [str(not value)]
        case int() | float():
            return [repr(value + 1)]
        case str():
            return [repr(f"{value}X")]
    return []

"""What one may ask about a stream in a line: comparisons, ``and``, ``or``, ``not`` and ``len``.

The line is parsed, checked node by node against a short list and put together from functions of
our own. Nothing of it is ever compiled or evaluated by Python.
"""

from __future__ import annotations

import ast
import itertools
import operator
import warnings
from typing import TYPE_CHECKING, Any, Final, Never

import attrs

from rat_fsm.errors import InvalidArgument
from rat_fsm.traces.trace import Told, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.table import Lifecycle

    Part = Callable[[Told], Any]

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 16
MAX_NUMBER: Final = 2**63


@attrs.frozen(eq=False)
class Expression:
    """A predicate that was typed.

    Attributes:
        names: what it asks about.
    """

    names: tuple[str, ...]
    _part: Part

    def __call__(self, told: Told) -> bool:
        """Whether it holds for a stream."""
        return bool(self._part(told))

    def answers(self, told: Told) -> str:
        """What the stream answers to it, name by name."""
        return ", ".join(f"{name} is {told.value(name)!r:.80}" for name in self.names)


def expression(text: str, lifecycle: Lifecycle) -> Expression:
    """The predicate that a line such as ``retries > 2 and reason == "limit"`` describes.

    It knows comparisons (also ``in``, and ``is None``), ``and``, ``or``, ``not``, ``len()``,
    strings, numbers, True, False, None, lists of these, and the names of `names_of`. A field that
    never came is None: it is neither smaller nor greater than anything, holds nothing, and its
    ``len()`` is 0.

    Raises:
        InvalidArgument: it is anything else, longer than 500 characters or deeper than 16.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidArgument(f"an expression has at most {MAX_LENGTH} characters")
    compiler = _Compiler(text, names_of(lifecycle))
    part = compiler.part(_parsed(text).body, MAX_DEPTH)
    return Expression(tuple(compiler.asked), part)


def _parsed(text: str) -> ast.Expression:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of is no expression of ours
            return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as problem:
        reason = problem.msg if isinstance(problem, SyntaxError) else problem
        raise InvalidArgument(f"{text!r} is no expression: {reason}") from problem


class _Compiler:
    """Makes a function of each part of an expression, or refuses the whole."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._names = names
        self.asked: dict[str, None] = {}

    def part(self, node: ast.AST, depth: int) -> Part:
        """The function of one part, which may be so deep."""
        if not depth:
            self._refuse("it is too deep")
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.part(value, depth - 1) for value in values]
                return _all(parts) if isinstance(op, ast.And) else _any(parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self.part(operand, depth - 1))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                parts = [self.part(value, depth - 1) for value in (left, *rights)]
                return _compare(parts, list(map(self._comparison, ops, rights)))
            case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
                return _len(self.part(argument, depth - 1))
        return self._name(node.id) if isinstance(node, ast.Name) else _constant(self._literal(node))

    def _name(self, name: str) -> Part:
        if name not in self._names:
            self._refuse(f"there is no {name!r} here, only {', '.join(sorted(self._names))}")
        self.asked[name] = None
        return lambda told: told.value(name)

    def _literal(self, node: ast.AST) -> Any:
        match node:
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._literal(item) for item in items]
            case ast.Constant(value=str() | bool() | None as value):
                return value
            case ast.Constant(value=int() | float() as value) if abs(value) < MAX_NUMBER:
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                if not isinstance(value, bool):
                    return -self._literal(ast.Constant(value))
        return self._refuse(f"{ast.unparse(node)!r:.80} is not among what it may hold")

    def _comparison(self, op: ast.cmpop, right: ast.AST) -> Callable[[Any, Any], bool]:
        if type(op) in _IDENTITIES:
            if not (isinstance(right, ast.Constant) and right.value is None):
                self._refuse("'is' is for None only; say == or !=")
            return _IDENTITIES[type(op)]
        return _COMPARISONS[type(op)]

    def _refuse(self, why: str) -> Never:
        raise InvalidArgument(f"{self._text!r} cannot be asked: {why}")


def _all(parts: list[Part]) -> Part:
    return lambda told: all(part(told) for part in parts)


def _any(parts: list[Part]) -> Part:
    return lambda told: any(part(told) for part in parts)


def _not(part: Part) -> Part:
    return lambda told: not part(told)


def _constant(value: Any) -> Part:
    return lambda _told: value


def _len(part: Part) -> Part:
    def count(told: Told) -> int:
        value = part(told)
        return 0 if value is None else len(value)

    return count


def _compare(parts: list[Part], comparisons: list[Callable[[Any, Any], bool]]) -> Part:
    def compare(told: Told) -> bool:
        values = [part(told) for part in parts]
        pairs = zip(comparisons, itertools.pairwise(values), strict=True)
        return all(holds(left, right) for holds, (left, right) in pairs)

    return compare


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: left is not None and right is not None and holds(left, right)


def _among(left: Any, right: Any) -> bool:
    return right is not None and (left is not None or not isinstance(right, str)) and left in right


_IDENTITIES: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_COMPARISONS: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _among,
    ast.NotIn: lambda left, right: not _among(left, right),
}

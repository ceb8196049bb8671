"""Hypothesis strategies for events and requests of any lifecycle: whatever a log may hold."""

from __future__ import annotations

import enum
import functools
import sys
import types
import typing
from collections import abc
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

import attrs
from hypothesis import strategies as st

from rat_fsm.codec import MAX_INTEGER, event_of, payload_of
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.table import EventType, snake_case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_integers: Final = st.integers(-MAX_INTEGER, MAX_INTEGER)
_floats: Final = st.floats(allow_nan=False, allow_infinity=False)
_text: Final = st.text(max_size=20)
_keys: Final = st.text(max_size=4)
plain_json: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | _integers | _floats | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)
objects: Final = st.dictionaries(_keys, plain_json, max_size=3)
_SIMPLE: Final[Mapping[Any, st.SearchStrategy[Any]]] = {
    str: _text,
    int: _integers,
    bool: st.booleans(),
    float: _floats,
    type(None): st.none(),
    Any: plain_json,
    object: plain_json,
}
_MAPPINGS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})
_LISTS: Final = frozenset({list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection})
_UNIONS: Final = frozenset({Union, types.UnionType})
_MOST: Final = 3


def events(event_type: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Events of a class that a log takes, and gives back as they were.

    Values come from the types of its fields: finite floats, integers of 64 bits, plain JSON where
    anything is allowed, whatever `hypothesis.strategies.from_type` knows of other types. What the
    class refuses with a ValueError, such as by a validator, is not drawn.

    ::

        from hypothesis import given, strategies as st
        from rat_fsm.events import Registered
        from rat_fsm.testing import events

        @given(events(Registered, kind=st.sampled_from(["sse", "websocket"])))
        def test_a_client_is_let_in(event):
            assert event.kind in {"sse", "websocket"}

    Args:
        event_type: an attrs class, such as those in the rows of a lifecycle.
        fields: strategies for fields, in place of what their types say.

    Raises:
        InvalidArgumentType: it is no attrs class, or its types cannot be told.
        InvalidArgument: it has no such field.
    """
    return built(event_type, fields).filter(_storable(event_type))


_REFUSED: Final = object()


def built(
    cls: Any, fields: Mapping[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[Any]:
    """Whatever an attrs class makes of values for its fields, but for what it refuses."""
    if not (isinstance(cls, type) and attrs.has(cls)):
        raise InvalidArgumentType(f"{cls!r} is no attrs class")
    given = fields or {}
    taken = {field.alias or field.name: field for field in attrs.fields(cls) if field.init}
    unknown = sorted(given.keys() - taken.keys())
    if unknown:
        raise InvalidArgument(
            f"{cls.__qualname__} has no field {unknown[0]!r}, only {', '.join(taken)}"
        )
    known = {name: _values(_hint(cls, taken[name])) for name in taken if name not in given}

    def build(arguments: dict[str, Any]) -> Any:
        try:
            return cls(**arguments)
        except ValueError:
            return _REFUSED

    arguments = st.fixed_dictionaries({**known, **given})
    return arguments.map(build).filter(lambda made: made is not _REFUSED)


def _hint(cls: type, field: attrs.Attribute[Any]) -> Any:
    """The type of one field; others of the class may be such as only type checkers resolve."""
    if field.type is None:
        return Any
    names = {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(sys.modules[base.__module__]).items()
    }
    annotated = types.SimpleNamespace(__annotations__={field.name: field.type})
    try:
        hints = typing.get_type_hints(annotated, names, {cls.__name__: cls}, include_extras=True)
    except NameError as problem:
        raise InvalidArgumentType(
            f"the type of {cls.__qualname__}.{field.name} cannot be told: {problem}"
        ) from problem
    return hints[field.name]


def _storable(cls: type) -> Callable[[Any], bool]:
    """Whether a log takes an event of a class; the rest of what a lifecycle knows is no matter."""
    names = tuple(field.name for field in attrs.fields(cls))
    kind = EventType(snake_case(cls.__name__), cls, 1, names, {}, {}, "")

    def storable(event: Any) -> bool:
        try:
            event_of(kind, payload_of(kind, event))
        except (InvalidArgument, InvalidArgumentType):
            return False
        return True

    return storable


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type that JSON can hold, as far as the type says what they are."""
    origin = typing.get_origin(hint)
    if origin is not None:
        return _generic(hint, origin, typing.get_args(hint))
    if hint in _MAPPINGS or hint in _LISTS:
        return _collection(hint, ())
    return _SIMPLE[hint] if hint in _SIMPLE else _of_class(hint)


def _generic(hint: Any, origin: Any, arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin in _UNIONS:
        return st.one_of(*map(_values, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Annotated:
        return _values(arguments[0])
    if origin in _MAPPINGS or origin in _LISTS:
        return _collection(origin, arguments)
    if origin is tuple:
        return _tuple(arguments)
    return st.from_type(hint)


def _collection(origin: Any, arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    *_, inner = (Any, *arguments)
    if origin in _LISTS:
        return st.lists(_values(inner), max_size=_MOST)
    keys = _keys if not arguments or arguments[0] is str else _values(arguments[0])
    return st.dictionaries(keys, _values(inner), max_size=_MOST)


def _tuple(arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if arguments[1:] == (...,):
        return st.lists(_values(arguments[0]), max_size=_MOST).map(tuple)
    return st.tuples(*map(_values, arguments))


def _of_class(hint: Any) -> st.SearchStrategy[Any]:
    if isinstance(hint, typing.NewType):
        return _values(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and attrs.has(hint):
        return _nested(hint)
    return st.from_type(hint)


@functools.cache
def _nested(cls: type) -> st.SearchStrategy[Any]:
    """One for each class, so that a class may hold its like."""
    return st.deferred(lambda: built(cls))

"""What an error means: its category, and whether trying again can help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

Classified = tuple[str, bool]
Rule = Callable[[BaseException], Classified | None] | tuple[type[BaseException], str, bool]

UNKNOWN: Final = ("unknown_error", False)
NETWORK: Final = ("network_error", True)
SERVER: Final = ("server_error", True)
THROTTLED: Final = ("throttled", True)
CLIENT: Final = ("client_error", False)
CANCELLED: Final = ("cancelled", False)
BUG: Final = ("bug", False)
MAX_MESSAGE: Final = 4096
CUT: Final = "…[cut]"

# By qualified name, so that no transport has to be imported to name its errors.
_TYPES: Final[Mapping[str, Classified]] = {
    "asyncio.exceptions.CancelledError": CANCELLED,
    "builtins.GeneratorExit": CANCELLED,
    "builtins.KeyboardInterrupt": CANCELLED,
    "builtins.SystemExit": CANCELLED,
    "builtins.ConnectionError": NETWORK,
    "builtins.TimeoutError": NETWORK,
    "builtins.EOFError": NETWORK,
    "builtins.FileNotFoundError": BUG,
    "builtins.PermissionError": BUG,
    "builtins.IsADirectoryError": BUG,
    "builtins.NotADirectoryError": BUG,
    "builtins.FileExistsError": BUG,
    "builtins.OSError": NETWORK,
    "builtins.ArithmeticError": BUG,
    "builtins.AssertionError": BUG,
    "builtins.AttributeError": BUG,
    "builtins.ImportError": BUG,
    "builtins.LookupError": BUG,
    "builtins.NameError": BUG,
    "builtins.NotImplementedError": BUG,
    "builtins.RecursionError": BUG,
    "builtins.SyntaxError": BUG,
    "builtins.TypeError": BUG,
    "builtins.ValueError": BUG,
    # A client that left is no error of ours, and there is nobody to try again for.
    "starlette.requests.ClientDisconnect": CANCELLED,
    "starlette.websockets.WebSocketDisconnect": CANCELLED,
    "uvicorn.protocols.utils.ClientDisconnected": CANCELLED,
    "websockets.exceptions.ConnectionClosedOK": CANCELLED,
}
# HTTP statuses as OpenAI's, Anthropic's and botocore's clients treat them (RFC 9110 names).
_STATUSES: Final[Mapping[int, Classified]] = {
    408: NETWORK,
    409: SERVER,
    425: SERVER,
    429: THROTTLED,
}
# RFC 6455 section 7.1.5: the connection ended without a close frame.
ABNORMAL_CLOSURE: Final = 1006
# WebSocket close codes, RFC 6455 section 7.4.1 and the IANA registry.
_CLOSE_CODES: Final[Mapping[int, Classified]] = {
    1000: CANCELLED,
    1001: NETWORK,
    1005: NETWORK,
    1006: NETWORK,
    1011: SERVER,
    1012: SERVER,
    1013: THROTTLED,
    1014: SERVER,
}
# The guide's patterns, in its order.
_PATTERNS: Final[Sequence[tuple[Classified, Sequence[str]]]] = (
    (
        NETWORK,
        (
            "connection reset",
            "broken pipe",
            "timeout",
            "network unreachable",
            "connection refused",
        ),
    ),
    (CLIENT, ("bad request", "unauthorized", "forbidden", "not found", "method not allowed")),
    (
        SERVER,
        ("internal server error", "service unavailable", "gateway timeout", "temporary failure"),
    ),
)
# Quotes end the address, but not a password or a query, where leaking its rest would be worse. The
# scheme is left out: to look for the beginning of one takes the square of a long word's length.
# Wherever they stand: a message may hold a path without its host, or a URL within another.
_USERINFO: Final = re.compile(r"(?<=//)[^\s/?#\"<>]*@")
_QUERY_VALUE: Final = re.compile(r"([?&#][^\s?&#=\"<>]*=)(?:[^\s&#\"<>]*[^\s&#\"<>'),.;:\]}])?")


def classify_error(error: BaseException | str, rules: Sequence[Rule] = ()) -> Classified:
    """The category of an error and whether a retry can help.

    Asked in this order; the first answer counts:

    1. the user's rules: callables ``error -> (category, retryable) | None``, or triples
       ``(type, category, retryable)``;
    2. its type, the nearest base first;
    3. the HTTP status or WebSocket close code that it carries, which also says more than a type
       that only means network trouble (requests' and urllib's HTTP errors are OSErrors); a
       header x-should-retry decides whether it is retryable;
       then 2 and 3 for each of the errors that caused it;
    4. for errors whose type says nothing (Exception, RuntimeError, a string), the guide's text
       patterns.

    Returns:
        One of network_error, client_error, server_error, throttled, cancelled, bug and
        unknown_error (or a rule's own), and whether it is retryable.
    """
    if isinstance(error, str):
        return _by_text(error)
    for link in _chain(error):
        answer = _by_rules(link, rules)
        if answer is not None:
            return answer
    for link in _chain(error):
        answer = _by_type(link)
        if answer in {None, NETWORK}:
            answer = _by_code(link) or answer
        if answer is not None:
            return answer
    return _by_text(_text_of(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, each once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _by_rules(error: BaseException, rules: Sequence[Rule]) -> Classified | None:
    for rule in rules:
        if isinstance(rule, tuple):
            kind, category, retryable = rule
            answer = (category, retryable) if isinstance(error, kind) else None
        else:
            answer = rule(error)
        if answer is not None:
            return answer
    return None


def _by_type(error: BaseException) -> Classified | None:
    for cls in type(error).__mro__:
        answer = _TYPES.get(f"{cls.__module__}.{cls.__qualname__}")
        if answer is not None:
            return answer
    return None


def _by_code(error: BaseException) -> Classified | None:
    status = status_of(error)
    answer = None if status is None else _of_status(status)
    if answer is None:
        return None
    told = str(_headers_of(error).get("x-should-retry")).lower()
    return (answer[0], told == "true") if told in {"true", "false"} else answer


def _of_status(status: int) -> Classified | None:
    if 1000 <= status < 5000:  # noqa: PLR2004 - the range of close codes, RFC 6455
        return _CLOSE_CODES.get(status, CLIENT)
    if 500 <= status < 600:  # noqa: PLR2004 - RFC 9110, server errors
        return SERVER
    return _STATUSES.get(status, CLIENT) if 400 <= status < 500 else None  # noqa: PLR2004 - likewise


def _by_text(text: str) -> Classified:
    lowered = text.lower()
    for answer, patterns in _PATTERNS:
        if any(pattern in lowered for pattern in patterns):
            return answer
    return UNKNOWN


def status_of(error: object) -> int | None:
    """The HTTP status or WebSocket close code that an error carries, None where it has none."""
    holders: tuple[object, ...] = (error, _attribute(error, "response"))
    if hasattr(error, "rcvd"):  # websockets' ConnectionClosed, whose own code is deprecated
        if error.rcvd is None:
            return ABNORMAL_CLOSURE
        holders = (error.rcvd,)
    for holder in holders:
        for name in ("status_code", "status", "code"):
            value = _attribute(holder, name)
            if isinstance(value, int) and not isinstance(value, bool):
                return int(value)
    return None


def retry_after_of(error: object) -> float | None:
    """Seconds that a server asked to wait, None where it did not or gave a date.

    Looks at ``retry_after`` and at the headers of the error or its response: retry-after-ms
    (milliseconds), then retry-after (seconds, RFC 9110 section 10.2.3).
    """
    headers = _headers_of(error)
    answers = (
        _seconds(_attribute(error, "retry_after"), 1.0),
        _seconds(headers.get("retry-after-ms"), 0.001),
        _seconds(headers.get("retry-after"), 1.0),
    )
    return next((seconds for seconds in answers if seconds is not None), None)


def _headers_of(error: object) -> dict[str, object]:
    """The headers of an error and of its response, which count; names in lower case."""
    found: dict[str, object] = {}
    for holder in (error, _attribute(error, "response")):
        headers: Any = _attribute(holder, "headers")
        try:
            found.update({str(name).lower(): value for name, value in headers.items()})
        except Exception:  # noqa: BLE001, S112 - whatever else an error calls headers
            continue
    return found


def _attribute(holder: object, name: str) -> object:
    """An attribute of somebody's object, None where there is none or its property raises."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - to understand an error must not raise another
        return None


def _seconds(value: object, unit: float) -> float | None:
    try:
        seconds = float(value) * unit  # type: ignore[arg-type]  # whatever a header holds
    except (OverflowError, TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def describe_error(error: BaseException | str) -> tuple[str, str]:
    """The type's name and the message, fit for a log.

    URLs lose userinfo and the values in query and fragment, lone surrogates are escaped, and
    what exceeds 4096 bytes of UTF-8 is cut and marked.
    """
    name = "str" if isinstance(error, str) else type(error).__qualname__
    return _cut(name), _cut(redact_urls(_text_of(error)))


def _text_of(error: BaseException | str) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - to describe an error must not raise another
        return "<its __str__ raised>"


def redact_urls(text: str) -> str:
    """A text whose URLs have neither userinfo nor values in query and fragment."""
    return _QUERY_VALUE.sub(r"\1…", _USERINFO.sub("", text))


def _cut(text: str) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= MAX_MESSAGE:
        return encoded.decode()
    room = MAX_MESSAGE - len(CUT.encode())
    return encoded[:room].decode("utf-8", "ignore") + CUT

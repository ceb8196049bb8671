"""What an error means, and what of it may be written down."""

from __future__ import annotations

import asyncio
import email.message
import http
import itertools
import socket
import time
import urllib.error
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

from rat_fsm.classification import (
    classify_error,
    describe_error,
    redact_urls,
    retry_after_of,
    status_of,
)

NETWORK = ("network_error", True)
SERVER = ("server_error", True)
THROTTLED = ("throttled", True)
CLIENT = ("client_error", False)
CANCELLED = ("cancelled", False)
BUG = ("bug", False)
UNKNOWN = ("unknown_error", False)


class Untyped(Exception):
    """An error whose type says nothing, with any attributes."""

    def __init__(self, text: str = "", **attributes: Any) -> None:
        super().__init__(text)
        self.__dict__.update(attributes)


def guide(error: object) -> tuple[str, bool]:
    """The guide's own function, word for word."""
    error_str = str(error).lower()
    if any(
        pattern in error_str
        for pattern in [
            *("connection reset", "broken pipe", "timeout"),
            *("network unreachable", "connection refused"),
        ]
    ):
        return "network_error", True
    if any(
        pattern in error_str
        for pattern in [
            *("bad request", "unauthorized", "forbidden"),
            *("not found", "method not allowed"),
        ]
    ):
        return "client_error", False
    if any(
        pattern in error_str
        for pattern in [
            *("internal server error", "service unavailable"),
            *("gateway timeout", "temporary failure"),
        ]
    ):
        return "server_error", True
    return "unknown_error", False


PATTERNS = [
    *("connection reset", "broken pipe", "timeout", "network unreachable", "connection refused"),
    *("bad request", "unauthorized", "forbidden", "not found", "method not allowed"),
    *("internal server error", "service unavailable", "gateway timeout", "temporary failure"),
]
texts = st.lists(
    st.sampled_from([*PATTERNS, *map(str.title, PATTERNS), *map(str.upper, PATTERNS)])
    | st.text(max_size=5),
    max_size=4,
).map(" ".join)


@given(texts)
def test_untyped_errors_are_what_the_guide_says(text: str) -> None:
    """By its patterns, in its order, in any case; a string too."""
    answers = [classify_error(error) for error in (text, Exception(text), RuntimeError(text))]
    assert answers == [guide(text)] * 3


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConnectionRefusedError(), NETWORK),
        (ConnectionResetError("not found"), NETWORK),
        (BrokenPipeError(), NETWORK),
        (TimeoutError(), NETWORK),
        (OSError(113, "No route to host"), NETWORK),
        (socket.gaierror(-3, "Temporary failure in name resolution"), NETWORK),
        (asyncio.IncompleteReadError(b"", 5), NETWORK),
        (EOFError(), NETWORK),
        (asyncio.CancelledError(), CANCELLED),
        (GeneratorExit(), CANCELLED),
        (KeyboardInterrupt(), CANCELLED),
        (SystemExit(503), CANCELLED),
        (ValueError("timeout"), BUG),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "timeout"), BUG),
        (TypeError(), BUG),
        (AssertionError(), BUG),
        (ImportError(), BUG),
        (KeyError(), BUG),
        (AttributeError(), BUG),
        (NotImplementedError(), BUG),
        (ZeroDivisionError(), BUG),
        (FileNotFoundError("connection reset"), BUG),
        (PermissionError(), BUG),
        (ClientDisconnect(), CANCELLED),
        (WebSocketDisconnect(1006), CANCELLED),
        (ClientDisconnected(), CANCELLED),
        (ConnectionClosedOK(Close(1001, ""), None), CANCELLED),
        (ExceptionGroup("timeout", [ValueError()]), NETWORK),
        (Exception(), UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_type_counts_first(error: BaseException, answer: tuple[str, bool]) -> None:
    """The nearest base that says something; the text only where none does."""
    assert classify_error(error) == answer


PERMANENT = [400, 401, 403, 404, 405, 410, 413, 415, 422]
STATUSES = {
    **dict.fromkeys((408,), NETWORK),
    **dict.fromkeys((409, 425, 500, 501, 502, 503, 504, 529, 599), SERVER),
    429: THROTTLED,
    **dict.fromkeys((*PERMANENT, 418, 499), CLIENT),
    **dict.fromkeys((0, 99, 101, 200, 302, 399, 600, 999, 5000, -1), UNKNOWN),
}
CLOSE_CODES = {
    **dict.fromkeys((1001, 1005, 1006), NETWORK),
    **dict.fromkeys((1011, 1012, 1014), SERVER),
    1013: THROTTLED,
    1000: CANCELLED,
    **dict.fromkeys((1002, 1003, 1007, 1008, 1009, 1010, 1015, 3000, 4000, 4999), CLIENT),
}


@pytest.mark.parametrize(("code", "answer"), [*STATUSES.items(), *CLOSE_CODES.items()])
def test_a_status_or_close_code_counts_next(code: int, answer: tuple[str, bool]) -> None:
    """Wherever the error carries it: as aiohttp, httpx, starlette and grown code do."""
    holders = [
        Untyped(status_code=code),
        Untyped(status=code),
        Untyped(code=code),
        Untyped(response=SimpleNamespace(status_code=code)),
        Untyped(response=SimpleNamespace(status=code)),
    ]
    assert [classify_error(error) for error in holders] == [answer] * 5
    assert [status_of(error) for error in holders] == [code] * 5


@pytest.mark.parametrize(("code", "answer"), CLOSE_CODES.items())
def test_the_close_code_of_websockets_is_read(code: int, answer: tuple[str, bool]) -> None:
    """From the frame that was received, and not from the property that warns."""
    error = ConnectionClosedError(Close(code, ""), None)
    assert (status_of(error), classify_error(error)) == (code, answer)


def test_no_close_frame_is_an_abnormal_closure() -> None:
    """1006, whatever we sent."""
    error = ConnectionClosedError(None, Close(1000, ""))
    assert (status_of(error), classify_error(error)) == (1006, NETWORK)


class OSErrorOfAClient(OSError):
    """What requests and urllib make of an HTTP status: an OSError."""

    def __init__(self, status: int) -> None:
        super().__init__("connection refused")
        self.response = SimpleNamespace(status_code=status)


def test_errors_of_real_clients_are_understood() -> None:
    """A status says more than a type that only means trouble with the network."""
    request = httpx.Request("GET", "https://api.example/v1")
    headers = email.message.Message()
    headers["Retry-After"] = "3"
    throttled = urllib.error.HTTPError("https://api.example", 429, "slow", headers, None)
    answers = {
        classify_error(error): retry_after_of(error)
        for error in (
            httpx.HTTPStatusError(
                *("?",), request=request, response=httpx.Response(404, headers={"x": "y"})
            ),
            HTTPException(503, headers={"retry-after": "7"}),
            throttled,
        )
    }
    assert answers == {CLIENT: None, SERVER: 7.0, THROTTLED: 3.0}
    assert classify_error(OSErrorOfAClient(404)) == CLIENT
    assert classify_error(OSErrorOfAClient(302)) == NETWORK
    assert classify_error(urllib.error.URLError("no route")) == NETWORK
    read_timeout = httpx.ReadTimeout("?", request=request)
    read_timeout.__cause__ = TimeoutError()
    assert classify_error(read_timeout) == NETWORK
    throttled.close()


@pytest.mark.parametrize("said", ["true", "True", "false", "FALSE", "maybe", None])
@pytest.mark.parametrize("code", [400, 409, 429, 503])
def test_a_server_may_say_whether_to_retry(code: int, said: str | None) -> None:
    """OpenAI's and Anthropic's header x-should-retry; it does not change the category."""
    error = Untyped(response=SimpleNamespace(status_code=code, headers={"X-Should-Retry": said}))
    category, retryable = STATUSES[code]
    told = {"true": True, "false": False}.get(str(said).lower(), retryable)
    assert classify_error(error) == (category, told)


@pytest.mark.parametrize(
    "value", [True, "404", None, 404.0, lambda: 404], ids=["bool", "str", "None", "float", "method"]
)
def test_what_is_no_integer_is_no_status(value: Any) -> None:
    """A gRPC error's ``code`` is a method."""
    error = Untyped(status=value, code=value)
    assert (status_of(error), classify_error(error)) == (None, UNKNOWN)
    assert status_of(Untyped(status=value, code=http.HTTPStatus.NOT_FOUND)) == 404


class Sly(Exception):
    """An error whose properties raise."""

    @property
    def response(self) -> Any:
        """As httpx does where there is no response."""
        raise RuntimeError("no response yet")

    status_code = code = retry_after = headers = response

    def __str__(self) -> str:
        raise RuntimeError("no text either")


def test_an_error_that_raises_when_looked_at_is_unknown() -> None:
    """To understand one error must not raise another into the handler."""
    assert (classify_error(Sly()), status_of(Sly()), retry_after_of(Sly())) == (UNKNOWN, None, None)
    assert describe_error(Sly()) == ("Sly", "<its __str__ raised>")


def chained(*errors: BaseException) -> BaseException:
    """The first error, raised from the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (chained(Untyped("not found"), Untyped(), ConnectionResetError()), NETWORK),
        (chained(Untyped(), Untyped(status=404), TimeoutError()), CLIENT),
        (chained(Untyped(status=302), Untyped(status=503)), SERVER),
        (chained(ValueError(), TimeoutError()), BUG),
        (chained(Untyped("timeout"), Untyped("forbidden")), NETWORK),
        (chained(Untyped(), Untyped("timeout")), UNKNOWN),
    ],
)
def test_causes_are_asked_after_the_error_itself(
    error: BaseException, answer: tuple[str, bool]
) -> None:
    """The nearest that says something by type or code; of the texts only the error's own."""
    assert classify_error(error) == answer


@given(
    st.lists(st.sampled_from([Untyped, TimeoutError, ValueError]), min_size=1), st.integers(0, 5)
)
def test_a_circle_of_causes_is_walked_once(kinds: list[type[Exception]], back: int) -> None:
    """Wherever it closes."""
    errors = [kind() for kind in kinds]
    chained(*errors).__traceback__ = None
    errors[-1].__cause__ = errors[back % len(errors)]
    answers = {Untyped: None, TimeoutError: NETWORK, ValueError: BUG}
    expected = [answer for answer in map(answers.get, kinds) if answer is not None]
    assert classify_error(errors[0]) == (expected[0] if expected else UNKNOWN)


def test_the_context_of_an_error_is_no_cause() -> None:
    """What was being handled when it was raised need not have led to it."""
    error = Untyped()
    error.__context__ = TimeoutError()
    assert classify_error(error) == UNKNOWN


def test_rules_count_before_everything() -> None:
    """In their order, for the error and then for each of its causes; None goes on to the next."""
    rules: list[Any] = [
        lambda error: ("by_text", True) if "magic" in str(error) else None,
        (LookupError, "missing", True),
        (KeyError, "never", False),
    ]
    assert classify_error(KeyError("magic"), rules) == ("by_text", True)
    assert classify_error(KeyError(), rules) == ("missing", True)
    assert classify_error(chained(TimeoutError(), KeyError()), rules) == ("missing", True)
    assert classify_error(chained(KeyError(), Untyped("magic")), rules) == ("missing", True)
    assert classify_error(TimeoutError(), rules) == NETWORK
    assert classify_error("magic", rules) == UNKNOWN


RETRY_AFTER = [
    ("5", 5.0),
    (" 2.5 ", 2.5),
    (7, 7.0),
    (b"3", 3.0),
    ("0", 0.0),
    ("-1", None),
    ("nan", None),
    ("inf", None),
    (10**400, None),
    ("", None),
    (None, None),
    ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ([], None),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER)
def test_a_pause_that_a_server_asks_for_is_read(value: Any, seconds: float | None) -> None:
    """Seconds, as an attribute or a header, in any case; a date would need a clock."""
    errors = [
        Untyped(retry_after=value),
        Untyped(headers={"Retry-After": value}),
        Untyped(response=SimpleNamespace(headers={"RETRY-AFTER": value})),
        Untyped(response=SimpleNamespace(headers=httpx.Headers())),
    ]
    assert [retry_after_of(error) for error in errors] == [*[seconds] * 3, None]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Untyped(headers={"retry-after-ms": "1500", "retry-after": "9"}), 1.5),
        (Untyped(headers={"retry-after-ms": "soon", "retry-after": "9"}), 9.0),
        (Untyped(retry_after=4, headers={"retry-after": "9"}), 4.0),
        (Untyped(retry_after="?", headers={"retry-after": "9"}), 9.0),
        (
            Untyped(
                headers={"retry-after": "9"},
                response=SimpleNamespace(headers={"retry-after": "8"}),
            ),
            8.0,
        ),
        (Untyped(headers=[("retry-after", "9")]), None),
        (Untyped(headers=SimpleNamespace(items=lambda: [1, 2])), None),
        ("a string", None),
    ],
)
def test_the_finer_word_counts(error: Any, seconds: float | None) -> None:
    """The attribute, then milliseconds, then seconds; the response's before the error's own."""
    assert retry_after_of(error) == seconds


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://user:secret@host/p", "https://host/p"),
        ("https://user:se@cret@host/p", "https://host/p"),
        ("https://user:s'cret@host/p", "https://host/p"),
        ("postgresql://u:p@h:5432/db?sslmode=x", "postgresql://h:5432/db?sslmode=…"),
        ("nats://token@h:4222", "nats://h:4222"),
        ("postgresql+psycopg://u:p@/db", "postgresql+psycopg:///db"),
        ("https://h/p?token=abc&user=me", "https://h/p?token=…&user=…"),
        ("https://h/p?token=a'bc&user=me", "https://h/p?token=…&user=…"),
        ("https://h/p?flag&key=", "https://h/p?flag&key=…"),
        ("https://h?a=b?c=d", "https://h?a=…"),
        ("https://h/p?a=1#key=2", "https://h/p?a=…#key=…"),
        ("https://h/cb#access_token=abc&x=1", "https://h/cb#access_token=…&x=…"),
        ("https://h/@user/x=1", "https://h/@user/x=1"),
        ("https://h/#top", "https://h/#top"),
        ("https://[::1]:8080/x", "https://[::1]:8080/x"),
        ("GET 'https://h/p?a=b' failed", "GET 'https://h/p?a=…' failed"),
        ('{"url": "https://u:p@h/?a=b", "n": 1}', '{"url": "https://h/?a=…", "n": 1}'),
        ("{'url': 'https://h/?a=b', 'n': 1}", "{'url': 'https://h/?a=…', 'n': 1}"),
        ("(see https://h/?a=b).", "(see https://h/?a=…)."),
        ("<https://h/?a=b>", "<https://h/?a=…>"),
        ("http://a:b@c http://d?e=f\nws://g:h@i", "http://c http://d?e=…\nws://i"),
        ("a=b, mail me@host, x://", "a=b, mail me@host, x://"),
        ("", ""),
    ],
)
def test_urls_lose_what_is_secret(text: str, redacted: str) -> None:
    """User, password, and the values in query and fragment; the rest stays readable."""
    assert redact_urls(text) == redacted
    assert describe_error(Exception(text)) == ("Exception", redacted)
    assert redact_urls(redacted) == redacted


secrets = st.text("abcXYZ019%!$'()*+,;:@-._~", min_size=1).map(lambda text: f"S3CRET{text}S3CRET")


@given(
    scheme=st.sampled_from(["http", "https", "ws", "postgresql+psycopg", "nats"]),
    user=secrets,
    token=secrets,
    before=st.text(max_size=10),
    after=st.sampled_from(["", "'", '"', ")", " and more", "\n"]),
)
def test_no_secret_survives(scheme: str, user: str, token: str, before: str, after: str) -> None:
    """Whatever stands around the URL, and whatever RFC 3986 allows within."""
    text = f"{before} {scheme}://{user}@host.example/path?key={token}&k={token}{after}"
    _, message = describe_error(Exception(text))
    assert "S3CRET" not in message
    assert "://host.example/path?key=…&k=…" in message


@given(st.text(st.characters(codec=None), max_size=50), st.sampled_from([0, 4000, 4090, 5000]))
def test_messages_can_be_stored(text: str, padding: int) -> None:
    """At most 4096 bytes of UTF-8, cut between characters and marked, surrogates escaped."""
    _, message = describe_error("ü" * (padding // 2) + text)
    encoded = message.encode()
    assert len(encoded) <= 4096
    if padding == 0:
        assert message == redact_urls(text).encode("utf-8", "backslashreplace").decode()
    if padding == 5000:
        assert message == "ü" * 2044 + "…[cut]"
    assert encoded.decode() == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, "x" * 4088 + "…[cut]"),
        ("x" * 4087 + "€" * 4, "x" * 4087 + "…[cut]"),
        ("\udcff\ud800", "\\udcff\\ud800"),
    ],
    ids=["fits", "too long", "not within a character", "surrogates"],
)
def test_where_messages_are_cut(text: str, message: str) -> None:
    """Beyond 4096 bytes, never within a character."""
    assert describe_error(text) == ("str", message)


def test_the_name_of_a_type_is_bounded_too() -> None:
    """And it is the qualified one."""
    long = type("X" * 5000, (Exception,), {})
    assert describe_error(long()) == ("X" * 4088 + "…[cut]", "")
    assert describe_error(asyncio.IncompleteReadError(b"", 5))[0] == "IncompleteReadError"


@pytest.mark.parametrize("part", ["a", "://", "'", "=", "?", "&=", "://a@", "://?a='"])
def test_a_long_message_takes_no_longer_than_its_length(part: str) -> None:
    """A megabyte in a blink, whatever it repeats: a handler must not hang on a message."""
    text = part * (1_000_000 // len(part))
    began = time.process_time()
    describe_error(text)
    assert time.process_time() - began < 3

"""The path for operators: who gets an answer, and what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm.events import DrainStarted
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import Call, Stage, lives, node_events

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN: Final = "t" * 16
ORIGIN: Final = (b"origin", b"https://evil.example")


def bearer(token: str, scheme: str = "Bearer") -> tuple[bytes, bytes]:
    """The header that carries a token."""
    return b"authorization", f"{scheme} {token}".encode()


def ask(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    path: str = "/rat-fsm",
    tokens: str | Mapping[str, str] = TOKEN,
    **options: Any,
) -> tuple[Stage, Call]:
    """One request to the admin path while a stream is served."""
    calls = []

    async def scenario(stage: Stage) -> None:
        stream = stage.stream("/events")
        await stream.until(lambda: bool(stream.body))
        call = stage.http(path, *headers, method=method)
        calls.append(call)
        assert await call.end() is None
        stream.leave()
        await stream.end()

    stage = Stage(handlers.idle, admin_auth=tokens, **options)
    stage.run(scenario)
    return stage, calls[0]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [bearer("")],
        [bearer("wrong" * 4)],
        [bearer(TOKEN[:-1])],
        [bearer(TOKEN + "t")],
        [bearer(TOKEN, "Basic")],
        [(b"authorization", TOKEN.encode())],
        [(b"authorization", b"Bearer \xff\xff")],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_who_has_no_token(headers: list[tuple[bytes, bytes]], method: str) -> None:
    """Nobody else learns or does anything, whatever the method."""
    stage, call = ask(*headers, method=method)
    assert (call.status, call.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(call.body) == {"error": "a bearer token is needed"}
    assert not [e for e in node_events(stage.log) if isinstance(e, DrainStarted)]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_how_it_stands(scheme: str) -> None:
    """GET says so; what is asked is no connection itself."""
    stage, call = ask(bearer(TOKEN, scheme))
    said = json.loads(call.body)
    assert (call.status, said["phase"], said["remaining"]) == (200, "serving", 1)
    assert said["ready"]
    ((events,), (left,)) = lives(stage.log), said["left"]
    assert (left["kind"], left["state"], left["bytes_sent"]) == ("sse", "active", 9)
    assert events[0].kind == "sse"


def test_a_head_request() -> None:
    """It goes without the body."""
    _, call = ask(bearer(TOKEN), method="HEAD")
    assert (call.status, call.body) == (200, b"")


def test_a_drain() -> None:
    """POST starts it, on behalf of whose token it is; the answer shows that it has begun."""
    tokens = {"ann": "a" * 20, "bob": "b" * 20}
    stage, call = ask(bearer("b" * 20), method="POST", tokens=tokens)
    said = json.loads(call.body)
    assert (call.status, said["phase"], said["ready"], said["requested_by"]) == (
        202,
        "draining",
        False,
        "bob",
    )
    assert [e for e in node_events(stage.log) if isinstance(e, DrainStarted)] == [
        DrainStarted(30.0, 1, "bob")
    ]


def test_a_drain_with_one_token() -> None:
    """It is the admin's."""
    stage, _ = ask(bearer(TOKEN), method="POST")
    (begun,) = (e for e in node_events(stage.log) if isinstance(e, DrainStarted))
    assert begun.requested_by == "admin"


def test_another_method() -> None:
    """It is told what there is."""
    _, call = ask(bearer(TOKEN), method="DELETE")
    assert (call.status, call.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_browsers_of_others(method: str) -> None:
    """No header lets a page of another origin read an answer, and none lets a cache keep it."""
    _, call = ask(bearer(TOKEN), ORIGIN, method=method)
    assert not [name for name in call.headers if name.startswith("access-control")]
    assert call.headers["cache-control"] == "no-store"


def test_another_path() -> None:
    """It answers nowhere else."""
    stage, call = ask(bearer(TOKEN), path="/ops/x", admin_path="/ops/x", method="GET")
    assert call.status == 200
    _, call = ask(bearer(TOKEN), path="/ops/x", admin_path="/ops/x", method="GET")
    assert stage.middleware.ready


def test_no_admin_path() -> None:
    """Without tokens there is none: the application gets the request."""

    async def scenario(stage: Stage) -> None:
        call = stage.http("/rat-fsm", bearer(TOKEN))
        await call.end()
        assert call.body == b"ok"

    Stage(handlers.short).run(scenario)


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also once one has matched, and always in constant time: time tells nothing."""
    import hmac

    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return real(given, known)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ask(bearer("a" * 20), tokens={"ann": "a" * 20, "bob": "b" * 20})
    assert compared == [b"a" * 20, b"b" * 20]

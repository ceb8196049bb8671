"""Who is let into JetStream: by passwords, tokens, keys, signed users and certificates."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from rat_fsm.errors import InvalidArgument, StoreUnreadable
from rat_fsm.events import Registered
from rat_fsm.log import EventLog
from rat_fsm.stores import open_store
from rat_fsm.stores.port import Snapshot, StoredFrame
from rat_fsm.testing.store_contract import make_chain, make_frame, refusal_of
from tests.processes import PROJECT
from tests.servers.certificates import encrypted, self_signed
from tests.servers.fixtures import nats_binary
from tests.servers.nats import NatsServer, running, wait_until
from tests.servers.nats_accounts import Key, Operator, credentials
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rat_fsm.stores.port import Frame, Store

PATIENCE = 20.0
SECRET = "s3cr3t@/:?#%-Zq9"  # noqa: S105 - of a server that lives as long as a test
PLAIN = "s3cr3tZq9"
RIGHTS = re.MULTILINE | re.DOTALL
QUOTED = quote(SECRET, safe="")
HOUR = 3600
NOBODY = 65534
NOWHERE = "nats://127.0.0.1:1/events"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "PASSWORD", "CREDS", "NKEY", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"NATS_{name}", raising=False)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """One whose accounts the server of the next fixture knows."""
    nats_binary()
    return Operator(tmp_path)


@pytest.fixture
def server(tmp_path: Path, operator: Operator) -> Iterator[NatsServer]:
    """A server that lets in whom an account of the operator has signed."""
    with running(tmp_path, nats_binary(), more=operator.more) as server:
        yield server


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Replaces a file at once, as whoever renews credentials should."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(mode)
    return new.replace(path)


def url_of(server: NatsServer, options: str) -> str:
    """Of a log there."""
    return f"nats://{server.server}/events?max_bytes=1000000&{options}"


def appended(store: Store, frame: Frame) -> int:
    """Where a frame is at last, as the log goes on until it is stored."""
    position: list[int] = []

    def stored() -> bool:
        with contextlib.suppress(OSError):
            store.reopen()
            position.append(store.append(frame))
        return bool(position)

    wait_until(stored, "way in")
    return position[0]


def turned_away(call: Callable[..., object], *arguments: object) -> Exception:
    """What a call says that the server lets in no more; on a slow machine it may time out first."""
    seen: list[Exception] = []

    def violated() -> bool:
        seen.append(refusal_of(call, *arguments))
        return "Authorization Violation" in str(seen[-1])

    wait_until(violated, "refusal")
    return seen[-1]


def test_credentials_let_in_and_are_never_shown(tmp_path: Path) -> None:
    """The right password opens the log; a wrong one, or too few rights, is said without it."""
    users = (
        f'{{ user: me, password: "{SECRET}" }}, {{ user: reader, password: "{SECRET}", '
        'permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } }'
    )
    more = f"authorization {{ users: [{users}] }}"
    frame = make_frame()
    with running(tmp_path, nats_binary(), more=more) as server:
        url = f"nats://me:{QUOTED}@{server.server}/events?max_bytes=1000000"
        with opened(url) as store, opened(url.replace("me:", "reader:"), writable=True) as other:
            store.append(frame)
            assert list(other.read()) == [StoredFrame(1, frame)]
            denied = refusal_of(other.append, make_frame("W1"))
            assert 'permissions violation for publish to "rat_fsm.events.frames.w1"' in str(denied)
            said = [repr(store), store.url, repr(denied), repr(store.address)]
        wrong = turned_away(open_store, url.replace(QUOTED, f"{QUOTED}x"))
        none = turned_away(open_store, f"nats://{server.server}/events")
        assert isinstance(wrong, StoreUnreadable)
        assert isinstance(none, StoreUnreadable)
        said += [repr(wrong), repr(wrong.__cause__), repr(wrong.__context__)]
        assert not [secret for secret in (SECRET, QUOTED) if secret in "".join(said)]


@pytest.mark.parametrize("name", ["", "me"])
def test_a_secret_in_the_environment_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A password, or a token instead of a user; where it is wrong, that is all that is said."""
    caplog.set_level(logging.DEBUG)

    def say(secret: str) -> None:
        monkeypatch.setenv("NATS_USER", name or secret)
        if name:
            monkeypatch.setenv("NATS_PASSWORD", secret)

    who = f'user: {name}, password: "{SECRET}"' if name else f'token: "{SECRET}"'
    with running(tmp_path, nats_binary(), more=f"authorization {{ {who} }}") as server:
        url = f"nats://{server.server}/events?max_bytes=1000000"
        say(SECRET)
        with opened(url) as store:
            assert store.append(make_frame()) == 1
        say(f"{SECRET}-wrong")
        problem = turned_away(open_store, url)
    assert SECRET not in f"{problem!r} {problem.__context__!r} {caplog.text}"


def test_few_rights_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's are: a writer needs no more, and a reader may not publish at all."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (more,) = re.findall(r"^authorization \{ users: \[$.*?^\] \}$", readme, RIGHTS)
    for name in ("OWNER", "WRITER", "READER"):
        monkeypatch.setenv(name, PLAIN)
    frame, snapshot = make_frame(), Snapshot("w0", 1, 1, b"folded")
    with running(tmp_path, nats_binary(), more=more) as server:
        url = f"nats://{{}}:{PLAIN}@{server.server}/events"
        with opened(f"{url.format('owner')}?max_bytes=1000000"):
            pass
        with (
            opened(url.format("writer")) as store,
            opened(url.format("reader"), writable=False) as reader,
        ):
            store.claim("w0")
            store.append(frame)
            store.save_snapshot(snapshot)
            assert reader.wait(0, PATIENCE)
            assert (list(reader.read()), reader.load_snapshot("w0")) == (
                [StoredFrame(1, frame)],
                snapshot,
            )
            assert (reader.heads(), reader.slots()["w0"].held) == (
                {"w0": StoredFrame(1, frame)},
                True,
            )


def test_a_signed_user_is_let_in_and_leaves_no_secret(
    tmp_path: Path, operator: Operator, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the seed nor the JWT is in a log record, a representation, or what was recorded."""
    caplog.set_level(logging.DEBUG)
    user = Key.generate("user")
    jwt = operator.jwt(user, time.time() + HOUR)
    url = url_of(server, f"creds={put(tmp_path / 'user.creds', credentials(jwt, user.seed))}")
    with EventLog.open(url) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        said = f"{log!r} {log.store!r} {vars(log.store)!r} {log.health!r} {caplog.text}"
    with opened(url, writable=False) as store:
        said += "".join(repr(stored) for stored in store.read())
        assert [stored.frame.writer for stored in store.read()][:1] == ["w0"]
    for secret in (user.seed, jwt, *jwt.split(".")[1:], "user.creds"):
        assert secret not in said
    assert "may be read" not in caplog.text


def test_a_user_who_has_expired_is_told_so(
    tmp_path: Path, operator: Operator, server: NatsServer
) -> None:
    """The server says no more than that it lets nobody in; the file says why."""
    user = Key.generate("user")
    jwt = operator.jwt(user, time.time() - HOUR)
    file = put(tmp_path / "user.creds", credentials(jwt, user.seed))
    problem = turned_away(open_store, url_of(server, f"creds={file}"))
    assert isinstance(problem, StoreUnreadable)
    assert "the user in the file that creds= or NATS_CREDS names has expired (" in str(problem)


def test_who_was_revoked_comes_back_with_new_credentials(
    tmp_path: Path, operator: Operator, server: NatsServer
) -> None:
    """A store that was opened before takes the file as it is when it connects again."""
    old, new = Key.generate("user"), Key.generate("user")
    file = put(tmp_path / "user.creds", credentials(operator.jwt(old), old.seed))
    first, second, third = make_chain("w0", 3)
    with opened(url_of(server, f"creds={file}&lease=60")) as store:
        store.claim("w0")
        store.append(first)
        operator.revoke(old, server)
        wait_until(lambda: not (store._link._wire and store._link._wire.is_up), "disconnection")
        problem = turned_away(store.append, second)
        assert "names was revoked, or is of an account that is not known there" in str(problem)
        assert not [secret for secret in (old.seed, "eyJ") if secret in repr(problem)]
        put(file, credentials(operator.jwt(new), new.seed))
        assert appended(store, second) == 2
        server.kill()
        server.start()
        assert appended(store, third) == 3
        assert store.holds("w0")


def test_a_key_that_was_exchanged_is_taken_from_its_file(tmp_path: Path) -> None:
    """As it is when the store connects again, whatever else stands in the file."""
    nats_binary()
    old, new = Key.generate("user"), Key.generate("user")
    users = tmp_path / "users.conf"
    users.write_text(f"authorization {{ users: [{{ nkey: {old.public} }}] }}")
    file = put(tmp_path / "user.nk", f"# of the log\n{old.seed}\n{old.public}\n")
    first, second = make_chain("w0", 2)
    with (
        running(tmp_path, nats_binary(), more='include "users.conf"') as server,
        opened(url_of(server, f"nkey={file}")) as store,
    ):
        store.append(first)
        server.kill()
        users.write_text(f"authorization {{ users: [{{ nkey: {new.public} }}] }}")
        server.start()
        problem = turned_away(store.reopen)
        assert old.seed not in repr(problem)
        put(file, new.seed)
        assert appended(store, second) == 2


def test_a_file_that_others_may_read_is_told_of_once(
    tmp_path: Path, operator: Operator, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used all the same: containers are often given their secrets like that."""
    user = Key.generate("user")
    file = put(tmp_path / "user.creds", credentials(operator.jwt(user), user.seed), mode=0o644)
    with opened(url_of(server, f"creds={file}")) as store:
        store.reopen()
        assert store.append(make_frame()) == 1
    assert [record.getMessage() for record in caplog.records if record.name == "rat_fsm"] == [
        "the file that creds= or NATS_CREDS names may be read by others (mode 0644): chmod 600 it"
    ]


def damaged(user: Key, other: Key, jwt: str) -> dict[str, tuple[str, str]]:
    """Files that let nobody in, and what is said of each."""
    mistyped = user.seed[:20] + ("A" if user.seed[20] != "A" else "B") + user.seed[21:]
    head, _, signature = jwt.split(".")
    return {
        "": ("creds", "holds no credentials of NATS"),
        "-----BEGIN NATS USER JWT-----": ("creds", "holds no credentials of NATS"),
        user.seed: ("creds", "holds no credentials of NATS"),
        credentials("a.b.c", user.seed): ("creds", "holds no credentials of NATS"),
        credentials(f"{head}.e30.{signature}", user.seed): ("creds", "holds no credentials of"),
        credentials(jwt, ""): ("creds", "holds no seed of a user"),
        credentials(jwt, mistyped): ("creds", "a seed that was mistyped or damaged"),
        credentials(jwt, other.seed): ("creds", "holds the seed of another user than its own"),
        user.public: ("nkey", "holds no seed of a user"),
        mistyped: ("nkey", "a seed that was mistyped or damaged"),
        Key.generate("account").seed: ("nkey", "holds no seed of a user"),
    }


def test_a_file_that_is_no_key_is_refused_without_its_content(
    tmp_path: Path, operator: Operator
) -> None:
    """Each with what is wrong, before any server is asked."""
    user, other = Key.generate("user"), Key.generate("user")
    jwt = operator.jwt(user)
    for content, (option, said) in damaged(user, other, jwt).items():
        file = put(tmp_path / "file", content)
        problem = refusal_of(open_store, f"{NOWHERE}?{option}={file}")
        assert isinstance(problem, StoreUnreadable)
        assert said in str(problem)
        shown = f"{problem!r} {problem.__cause__!r} {problem.__context__!r}"
        lines = [line for line in content.splitlines() if len(line) > 40]
        assert not [line for line in (*lines, str(file)) if line in shown]


def test_line_endings_and_comments_do_not_matter(
    tmp_path: Path, operator: Operator, server: NatsServer
) -> None:
    """A file that was through another system, or whose last line is not ended, lets in too."""
    user = Key.generate("user")
    text = credentials(operator.jwt(user), user.seed)
    for changed in (text.replace("\n", "\r\n"), text.partition("\n------END USER")[0]):
        put(tmp_path / "user.creds", changed)
        with opened(url_of(server, f"creds={tmp_path / 'user.creds'}")) as store:
            assert store.heads() == {}


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: be nobody for a moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if before == 0:
            os.seteuid(before)


@pytest.mark.parametrize("option", ["creds", "nkey", "tlsca", "tlscert"])
def test_a_file_that_cannot_be_read_is_named_by_its_option(tmp_path: Path, option: str) -> None:
    """Missing, forbidden, a folder, a pipe that nobody writes into: said at once, and why."""
    closed, pipe = put(tmp_path / "closed", "something", mode=0), tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in (
        (tmp_path / "missing", "cannot be read: No such file or directory"),
        (closed, "cannot be read: Permission denied"),
        (tmp_path, "cannot be read: Is a directory"),
        (pipe, "is no regular file"),
    ):
        with unprivileged() if path == closed else contextlib.nullcontext():
            problem = refusal_of(open_store, f"{NOWHERE}?{option}={path}")
        assert isinstance(problem, StoreUnreadable)
        assert str(problem).startswith(f"the file that {option}= or NATS_")
        assert str(problem).endswith(said)


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """Nobody is asked for a passphrase, and no key goes without its certificate."""
    certificate, key = self_signed(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = self_signed(tmp_path / "other")
    closed = encrypted(key, tmp_path / "closed.pem", SECRET)
    for options, said in (
        (f"tlsca={key}", "the file that tlsca= or NATS_CA names holds no certificates"),
        (f"tlscert={certificate}&tlskey={other}", "NATS_KEY names, cannot be used: "),
        (f"tlscert={certificate}&tlskey={closed}", "needs a passphrase, which nobody gives here"),
    ):
        problem = refusal_of(open_store, f"{NOWHERE}?{options}")
        assert isinstance(problem, StoreUnreadable)
        assert said in str(problem)
    with pytest.raises(InvalidArgument, match="tlscert= must name that"):
        open_store(f"{NOWHERE}?tlskey={key}")


@pytest.mark.slow
def test_a_certificate_and_a_key_let_in(tmp_path: Path) -> None:
    """By files that the URL names: over TLS, and by a signature instead of a password."""
    nats_binary()
    certificate, key = self_signed(tmp_path)
    user = Key.generate("user")
    put(tmp_path / "user.nk", user.seed)
    more = (
        f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{certificate}", '
        f"verify: true }}\nauthorization {{ users: [{{ nkey: {user.public} }}] }}"
    )
    with running(tmp_path, nats_binary(), more=more) as server:
        base = f"nats://{server.server}/events?max_bytes=1000000"
        ours = f"&tlsca={certificate}&tlscert={certificate}&tlskey={key}"
        with opened(f"{base}{ours}&nkey={tmp_path / 'user.nk'}") as store:
            assert store.append(make_frame()) == 1
        turned_away(open_store, f"{base}{ours}")
        with pytest.raises(StoreUnreadable, match="certificate verify failed"):
            open_store(f"{base}&nkey={tmp_path / 'user.nk'}")

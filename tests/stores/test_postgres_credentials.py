"""How a log gets into PostgreSQL: passwords, and files of libpq's that are wrong or open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.errors import StoreUnreadable
from rat_fsm.stores import open_store
from rat_fsm.testing.store_contract import refusal_of
from tests.servers import postgres as pg
from tests.servers.certificates import encrypted, self_signed
from tests.servers.fixtures import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRONG: Final = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def bare(postgres_18: pg.PostgresServer) -> str:
    """The URL of a log there, which says nothing of who comes."""
    return fresh(f"postgresql://127.0.0.1:{postgres_18.port}/postgres")


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Writes a file with its mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


def line(password: str) -> str:
    """Of a password file, for a user on every server."""
    escaped = password.replace(":", r"\:")
    return f"*:*:*:{pg.OWNER}:{escaped}\n"


def service(port: int, password: str) -> str:
    """A service file with a password in it."""
    return (
        f"[log]\nhost=127.0.0.1\nport={port}\nuser={pg.OWNER}\ndbname=postgres\n"
        f"password={password}\n"
    )


def ways(port: int, password: str, folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """How a password can come: what follows the bare URL, and the environment."""
    user = {"PGUSER": pg.OWNER}
    passwords = put(folder / "passwords", line(password))
    services = put(folder / "services", service(port, password))
    return {
        "environment": ("", user | {"PGPASSWORD": password}),
        "option": (f"&passfile={passwords}", user),
        "variable": ("", user | {"PGPASSFILE": str(passwords)}),
        "service": ("&service=log", {"PGSERVICEFILE": str(services)}),
        "service variable": ("", {"PGSERVICEFILE": str(services), "PGSERVICE": "log"}),
    }


@pytest.mark.parametrize(
    "way", ["environment", "option", "variable", "service", "service variable"]
)
def test_who_comes_need_not_stand_in_the_url(
    postgres_18: pg.PostgresServer,
    bare: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """The environment and libpq's files let in too; where they are wrong, nothing is repeated."""

    def url_with(password: str) -> str:
        options, environment = ways(postgres_18.port, password, tmp_path)[way]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return f"{bare}{options}"

    open_store(url_with(pg.PASSWORD), writable=True).close()
    problem = refusal_of(open_store, url_with(WRONG))
    assert isinstance(problem, StoreUnreadable)
    assert 'password authentication failed for user "…"' in str(problem)
    assert not [secret for secret in (WRONG, pg.OWNER) if secret in repr(problem)]
    assert problem.__cause__ is None


def test_a_password_file_that_others_may_read_is_named(bare: str, tmp_path: Path) -> None:
    """The driver passes over it, and says so only to whoever sees the standard error."""
    put(tmp_path / ".pgpass", line(pg.PASSWORD))
    url = f"{bare}&user={pg.OWNER}"
    open_store(url, writable=True).close()
    (tmp_path / ".pgpass").chmod(0o640)
    said = str(refusal_of(open_store, url))
    assert said.endswith(
        "no password supplied; the password file is not used, as others may read it (mode 0640)"
    )
    (tmp_path / ".pgpass").unlink()
    assert str(refusal_of(open_store, url)).endswith("no password supplied")


def test_a_service_that_is_not_there_is_named(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As is a file that is none, without the line that cannot be read."""
    for content, said in (
        (None, r'service file ".*" not found'),
        ("[other]\n", 'definition of service "…" not found'),
        (f"[log]\npasswort={WRONG}\n", r'syntax error in service file ".*", line 2'),
        (f"[log]\n{WRONG}\n", r'syntax error in service file ".*", line 2'),
    ):
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        if content is not None:
            put(tmp_path / "services", content)
        with pytest.raises(StoreUnreadable, match=said) as caught:
            open_store(f"{bare}&service=log")
        assert WRONG not in repr(caught.value)


@pytest.fixture
def speaking_tls(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """The URL of a log on a server that speaks TLS, a certificate and its key."""
    binaries = pg.system_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL 15, which speaks TLS, is not installed, and no package brings it")
    certificate, key = self_signed(tmp_path)
    folder = tmp_path / "server"
    folder.mkdir()
    with pg.running(
        folder, binaries, ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(key)
    ) as server:
        yield f"{fresh(server.url)}&sslmode=require", certificate, key


@pytest.mark.slow
def test_a_key_that_cannot_be_used_is_said(
    speaking_tls: tuple[str, Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that others may read, that is missing or wrong, or whose passphrase nobody has given."""
    url, certificate, key = speaking_tls
    url += f"&sslcert={certificate}"
    open_store(f"{url}&sslkey={key}", writable=True).close()
    closed = encrypted(key, tmp_path / "closed.pem", WRONG)
    open_store(f"{url}&sslkey={closed}&sslpassword={WRONG}", writable=True).close()
    for options, said in (
        (put(tmp_path / "open.pem", key.read_text(), 0o644), "has group or world access; file"),
        (tmp_path / "missing.pem", "certificate present, but not private key file"),
        (put(tmp_path / "other.pem", WRONG), "could not load private key file"),
        (closed, "could not load private key file"),
        (f"{closed}&sslpassword=x{WRONG}", "could not load private key file"),
    ):
        problem = refusal_of(open_store, f"{url}&sslkey={options}")
        assert isinstance(problem, StoreUnreadable)
        assert said in str(problem)
        assert not [secret for secret in (WRONG, str(tmp_path)) if secret in repr(problem)]
    assert "pass phrase" not in "".join(capfd.readouterr())  # the log would wait for it

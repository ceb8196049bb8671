"""The URL of a log in PostgreSQL: what is libpq's, and what is ours."""

from __future__ import annotations

import math
import os
from typing import Any, Final
from urllib.parse import unquote

import attrs
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from rat_fsm.errors import InvalidArgument
from rat_fsm.stores.credentials import address_of, check_escaped, scrubbed
from rat_fsm.stores.postgres.saying import with_reason, without_user

LEASE: Final = 15.0
SHORTEST_LEASE: Final = 1.0
SCHEMA: Final = "rat_fsm"
MAX_SCHEMA: Final = 63
CONNECT_TIMEOUT: Final = 3
OPTIONS: Final = ("lease", "schema")
_EACH: Final = "All failures were: "  # after the last one of several hosts, psycopg tells each


@attrs.frozen
class Address:
    """Where a log is, and how to get there.

    Attributes:
        url: as it was given, with its secrets.
        shown: what may be shown of it.
        schema: the schema that holds the log.
        lease: for how long a claim holds without being renewed, seconds.
        parameters: what libpq is told.
    """

    url: str = attrs.field(repr=False)
    shown: str
    schema: str
    lease: float
    parameters: dict[str, Any] = attrs.field(repr=False)

    @property
    def quoted(self) -> str:
        """The schema as SQL has it."""
        return sql.Identifier(self.schema).as_string(None)

    def said(self, problem: BaseException) -> str:
        """What a driver's error says, on one line and without secrets."""
        primary = problem.diag.message_primary if isinstance(problem, psycopg.Error) else None
        said = " ".join((primary or str(problem)).split())
        shown = without_user(scrubbed(said.rpartition(_EACH)[2], self.url), problem)
        return with_reason(shown, self.parameters)


def parse(url: str, *, writable: bool = False) -> Address:
    """Takes a URL apart.

    Everything but ``schema`` and ``lease`` goes to libpq, as do its environment variables,
    password file and service file. If we mean to write, a server that takes writes is looked for
    among the hosts.

    Raises:
        InvalidArgument: it is none; the message repeats nothing of it that may be secret.
    """
    check_escaped(url)
    options, rest = _split(url)
    schema = unquote(options.get("schema", SCHEMA))
    if not 1 <= len(schema.encode()) <= MAX_SCHEMA or "\0" in schema:
        raise InvalidArgument(f"schema must be a name of 1 to {MAX_SCHEMA} bytes")
    shown = address_of(url)
    return Address(
        url=url,
        shown=shown if schema == SCHEMA else f"{shown} (schema {schema})",
        schema=schema,
        lease=_lease(options.get("lease", str(LEASE))),
        parameters=_parameters(rest, writable=writable),
    )


def _split(url: str) -> tuple[dict[str, str], str]:
    """Our options, and the URL without them."""
    # libpq lets a password hold a question mark.
    at = url.find("@", 0, (url.find("/", url.find("//") + 2) + 1 or len(url)))
    start = url.find("?", max(at, 0))
    if start < 0:
        return {}, url
    given = [option.partition("=") for option in url[start + 1 :].split("&") if option]
    ours = {name: value for name, _, value in given if name in OPTIONS}
    theirs = "&".join("".join(option) for option in given if option[0] not in OPTIONS)
    if not all(equals for _, equals, _ in given):  # it may be what follows an & in a password
        raise InvalidArgument("an option of a PostgreSQL URL has no value; an & in one is %26")
    _check_known(name for name, _, _ in given)
    return ours, url[:start] + ("?" + theirs if theirs else "")


def _check_known(names: Any) -> None:
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in names:
        if unquote(name) not in known | {*OPTIONS, "ssl"}:  # libpq takes ssl=true from JDBC
            raise InvalidArgument(
                f"a PostgreSQL URL has no option {name!r}; ours are {' and '.join(OPTIONS)}, "
                "and those of libpq"
            )


def _lease(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_LEASE <= seconds < math.inf:
        raise InvalidArgument(f"lease must be at least {SHORTEST_LEASE:g} seconds")
    return seconds


def _parameters(url: str, *, writable: bool) -> dict[str, Any]:
    try:
        found: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:
        # The driver's message repeats what it did not understand: mostly a password.
        raise InvalidArgument(
            f"{address_of(url)} is no PostgreSQL URL; in the user and the password, characters "
            "such as @ / : % are written as %40 %2F %3A %25"
        ) from None
    if writable and "PGTARGETSESSIONATTRS" not in os.environ:
        found.setdefault("target_session_attrs", "read-write")
    if "service" not in found and "PGSERVICE" not in os.environ:
        # Any text but none: without one OpenSSL asks at the terminal for that of an encrypted key.
        found.setdefault("sslpassword", " ")
    if "PGCONNECT_TIMEOUT" not in os.environ:
        found.setdefault("connect_timeout", CONNECT_TIMEOUT)
    return {"fallback_application_name": "rat_fsm", **found, "client_encoding": "utf8"}

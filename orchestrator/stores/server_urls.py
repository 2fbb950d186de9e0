"""What the URL of a database server says: where it is, who we are there, and how to talk to it.

``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE``, and likewise ``mysql://`` and ``mariadb://``. Parts may
be percent-encoded; the rest of the options is in ``OPTIONS``.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

from orchestrator.errors import did_you_mean
from orchestrator.frozen import frozen
from orchestrator.journal.errors import BadStoreUrl

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Mapping

Tls: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_TLS: dict[str, Tls] = {
    "disable": "disable",
    "disabled": "disable",
    "false": "disable",
    "prefer": "prefer",
    "preferred": "prefer",
    "require": "require",
    "required": "require",
    "true": "require",
    "verify-ca": "verify-ca",
    "verify_ca": "verify-ca",
    "verify-full": "verify-full",
    "verify_identity": "verify-full",
}
_NAMES = {
    "sslmode": "tls",
    "ssl-mode": "tls",
    "ssl": "tls",
    "sslrootcert": "root",
    "ssl-ca": "root",
    "ssl_ca": "root",
    "sslcert": "cert",
    "ssl-cert": "cert",
    "ssl_cert": "cert",
    "sslkey": "key",
    "ssl-key": "key",
    "ssl_key": "key",
    "user": "user",
    "password": "password",
    "pool": "pool",
    "timeout": "timeout",
    "connect_timeout": "connect_timeout",
    "pooler": "pooler",
}
OPTIONS = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "user",
    "password",
    "pool",
    "timeout",
    "connect_timeout",
    "pooler",
)
_PLACE = re.compile(
    r"(?:(?P<who>[^/?]*)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/?@]*)(?::(?P<port>[^/?@]*))?(?:/(?P<db>[^?]*))?"
)
_OPTION = re.compile(r"[A-Za-z_-]{1,40}")
_PORTS = {"PostgreSQL": 5432, "MySQL": 3306, "MariaDB": 3306}
MAX_POOL = 100


@frozen(kw_only=True)
class ServerUrl:
    """A database server. ``shown`` holds no password, and so does ``repr``.

    ``pool`` is how many connections one process may hold; ``timeout`` how many seconds a statement may take;
    ``connect_timeout`` how many a connection may. ``pooler`` says that another program stands in between, which hands
    each transaction to any connection of its own: nothing is kept in a session then. ``given`` are the options that the
    URL sets.
    """

    backend: str
    shown: str
    host: str
    port: int
    user: str | None
    password: str | None
    database: str
    tls: Tls = "prefer"
    root: str | None = None
    cert: str | None = None
    key: str | None = None
    pool: int = 5
    timeout: float = 10.0
    connect_timeout: float = 5.0
    pooler: bool = False
    given: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"ServerUrl({self.shown})"

    def tls_context(self) -> ssl.SSLContext | None:
        """How to encrypt; None for ``disable``. Raises ``BadStoreUrl`` where a file of it cannot be used."""
        if self.tls == "disable":
            return None
        return _context(self)


@lru_cache(8)
def _context(url: ServerUrl) -> ssl.SSLContext:
    """Made once: to read the machine's certificates takes 25 ms."""
    import ssl

    _check_files(url)
    checks = url.tls in ("verify-ca", "verify-full") or (url.tls == "require" and url.root is not None)
    with _usable(url, "sslrootcert", url.root or "of this machine"):
        context = ssl.create_default_context(cafile=url.root) if checks or url.root else _unchecked()
    context.check_hostname = url.tls == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if checks else ssl.CERT_NONE
    if url.cert is not None:
        with _usable(url, "sslcert", url.cert, key=url.key):
            context.load_cert_chain(url.cert, url.key)
    return context


def _unchecked() -> ssl.SSLContext:
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _check_files(url: ServerUrl) -> None:
    for option, file in (("sslrootcert", url.root), ("sslcert", url.cert), ("sslkey", url.key)):
        if file is not None:
            with _usable(url, option, file), Path(file).open("rb"):
                pass


@contextmanager
def _usable(url: ServerUrl, option: str, file: str, *, key: str | None = None) -> Generator[None]:
    """Name the file where it cannot be read, or holds something else."""
    import ssl

    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "it takes the path of a file in PEM form"
        if option == "sslcert" and isinstance(error, ssl.SSLError):
            reason = f"it and {f'the key {key}' if key else 'the key in it'} are no pair in PEM form ({reason})"
            hint = "sslkey names the file of the key"
        raise BadStoreUrl(url.shown, problem=f"{option} {file} cannot be used: {reason}", hint=hint) from error


def parse_server(backend: str, rest: str, shown: str) -> ServerUrl:
    """The server of a URL; ``rest`` is what follows its scheme. Raises ``BadStoreUrl``."""
    place, _, query = rest.removeprefix("//").partition("?")
    found = _PLACE.fullmatch(place)
    if found is None or not found["host"]:
        raise BadStoreUrl(shown, problem="the host is missing")
    if "@" in (found["db"] or ""):
        raise BadStoreUrl(
            shown,
            problem="a slash stands before its @",
            hint="write special characters percent-encoded: a slash is %2F",
        )
    user, colon, password = (found["who"] or "").partition(":")
    options = _options(query, shown)
    given = frozenset(options)
    user, password = options.pop("user", unquote(user)), options.pop("password", unquote(password) if colon else None)
    database = unquote(found["db"] or "")
    if not database or "/" in database or "\0" in database + user + (password or ""):
        raise BadStoreUrl(shown, problem="the database is missing" if not database else "it names no database")
    port = _port(found["port"], shown) if found["port"] is not None else _PORTS[backend]
    who = "" if not user else f"{user}@" if password is None else f"{user}:***@"
    return ServerUrl(
        backend=backend,
        shown=f"{backend.lower()}://{who}{found['host']}:{port}/{database}",
        host=found["host"].strip("[]"),
        port=port,
        user=user or None,
        password=password,
        database=database,
        tls=_tls(options.get("tls", "prefer"), shown),
        root=options.get("root"),
        cert=options.get("cert"),
        key=options.get("key"),
        pool=_pool(options.get("pool", "5"), shown),
        timeout=_seconds("timeout", options.get("timeout", "10"), shown),
        connect_timeout=_seconds("connect_timeout", options.get("connect_timeout", "5"), shown),
        pooler=_yes(options.get("pooler", "false"), shown),
        given=given,
    )


def _options(query: str, shown: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        name = _NAMES.get(key.lower())
        if (
            not equals
            or not _OPTION.fullmatch(key)
            or (name is None and "password" in options)
            or ("@" in value and name not in ("user", "password"))
        ):  # perhaps the rest of a password
            raise BadStoreUrl(shown, problem="it cannot be read", hint="write special characters percent-encoded")
        if name is None:
            near = did_you_mean(key, OPTIONS)
            hint = f"did you mean {near}?" if near else f"it takes {', '.join(OPTIONS)}"
            raise BadStoreUrl(shown, problem=f"unknown option {key!r}", hint=hint)
        if name in options:
            raise BadStoreUrl(shown, problem=f"option {key!r} is given twice")
        options[name] = unquote(value)
    return options


def _port(text: str, shown: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise BadStoreUrl(shown, problem="the port is no number from 1 to 65535")
    return int(text)


def _tls(text: str, shown: str) -> Tls:
    if (mode := _TLS.get(text.lower())) is None:
        raise BadStoreUrl(
            shown, problem=f"sslmode is one of disable, prefer, require, verify-ca, verify-full, not {text!r}"
        )
    return mode


def _pool(text: str, shown: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 < int(text) <= MAX_POOL:
        raise BadStoreUrl(shown, problem=f"pool is a number of connections from 2 to {MAX_POOL}, not {text!r}")
    return int(text)


def _seconds(name: str, text: str, shown: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text) or float(text) <= 0:
        raise BadStoreUrl(shown, problem=f"{name} is a number of seconds, not {text!r}")
    return float(text)


def _yes(text: str, shown: str) -> bool:
    if (found := _YES.get(text.lower())) is None:
        raise BadStoreUrl(shown, problem=f"pooler is true or false, not {text!r}")
    return found


_YES: Mapping[str, bool] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

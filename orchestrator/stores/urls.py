"""Store URLs: what each means, and why the others mean nothing. No password is ever shown, and nothing is ever
created.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

from orchestrator.errors import did_you_mean
from orchestrator.frozen import frozen
from orchestrator.journal.errors import BadStoreUrl
from orchestrator.stores.server_urls import OPTIONS, ServerUrl, parse_server

if TYPE_CHECKING:
    from collections.abc import Iterator

Mode: TypeAlias = Literal["rwc", "rw", "ro"]
_MODES = ("rwc", "rw", "ro")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*(?:\+[A-Za-z0-9]*)?):")
_BACKENDS = {"postgresql": "PostgreSQL", "postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
_DRIVERS = {"PostgreSQL": ("", "asyncpg"), "MySQL": ("", "aiomysql"), "MariaDB": ("", "aiomysql")}
_OPTIONS = ("mode", "timeout")
_USER = re.compile(r"((?:[A-Za-z][A-Za-z0-9.+-]*:/+)?[^/:]*):.*@", re.DOTALL)
_BAD_PORT = re.compile(r"^([A-Za-z][A-Za-z0-9.+-]*:/+[^/:@?\[]*):(?![0-9]{1,5}(?:[/?]|$)).*", re.DOTALL)
_PLAIN = frozenset({*OPTIONS, *_OPTIONS} - {"password"})
"""Options whose values no message has to hide."""


@frozen(kw_only=True)
class SqliteUrl:
    """A file. ``mode``: make it where it is missing, or not, or do not even write; ``timeout`` in seconds, if it was
    given.
    """

    path: Path
    mode: Mode = "rwc"
    timeout: float | None = None

    @property
    def read_only(self) -> bool:
        """True where nothing may be written."""
        return self.mode == "ro"

    @property
    def shown(self) -> str:
        """What to call it in messages."""
        return f"sqlite:{self.path}"


@frozen
class MemoryUrl:
    """A store that ends with its process."""

    shown: str = "memory:"


StoreUrl: TypeAlias = "SqliteUrl | MemoryUrl | ServerUrl"


def parse_url(text: str, *, base: Path | None = None) -> StoreUrl:
    """What a store URL means. Raises ``BadStoreUrl``.

    ``sqlite:PATH``, ``sqlite:///RELATIVE``, ``sqlite:////ABSOLUTE`` with ``?mode=rwc|rw|ro`` and ``?timeout=SECONDS``;
    ``memory:``; ``postgresql://``, ``mysql://``, ``mariadb://`` as in ``server_urls``. A relative path is resolved
    against ``base``, or the working directory. ``%3F`` stands for a question mark in a file's name; ``#`` for itself.
    """
    shown = mask(text)
    found = _SCHEME.match(text)
    if found is None:
        hint = f"a file is written sqlite:{text}" if _looks_like_a_file(text) else None
        raise BadStoreUrl(shown, problem="it has no scheme", hint=hint)
    scheme, rest = found[1].lower(), text[found.end() :]
    name, _, driver = scheme.partition("+")
    if name == "memory" and not driver:
        if rest not in ("", "//"):
            raise BadStoreUrl(shown, problem="a memory store has no name and no options")
        return MemoryUrl()
    if name == "sqlite" and not driver:
        return _sqlite(rest, shown, base)
    if name in _BACKENDS:
        return _server(_BACKENDS[name], driver, rest, shown)
    near = did_you_mean(name, ["sqlite", "memory", *_BACKENDS])
    raise BadStoreUrl(shown, problem=f"unknown scheme {scheme!r}", hint=f"did you mean {near}:?" if near else None)


def mask(text: str) -> str:
    """``text`` without what may be a password: all between the user's colon and the last ``@``, what stands where a
    port should, the values of options that are not known, and what is no option.
    """
    place, mark, query = text.partition("?")
    if "@" in query:  # of a password with a question mark, or of an option's value: no telling which
        scheme = _SCHEME.match(text)
        return f"{scheme[1]}://***" if scheme and text[scheme.end() :].startswith("//") else "***"
    place = _USER.sub(r"\1:***@", place, count=1)
    place = place if "@" in place else _BAD_PORT.sub(r"\1:***", place)
    return place + mark + "&".join(_masked(query.split("&")))


def _masked(items: list[str]) -> Iterator[str]:
    after_password = False
    for item in items:
        key, equals, _ = item.partition("=")
        if not item or (equals and key.lower() in _PLAIN):
            yield item
        else:  # after a password, perhaps the rest of it
            yield f"{key}=***" if equals and not after_password else "***"
        after_password |= key.lower() == "password"


def _looks_like_a_file(text: str) -> bool:
    return bool(text) and "@" not in text and text.endswith((".db", ".sqlite", ".sqlite3"))


def _sqlite(rest: str, shown: str, base: Path | None) -> SqliteUrl:
    place, _, query = rest.partition("?")
    if place.startswith("//"):
        host, slash, place = place[2:].partition("/")
        if host:
            raise BadStoreUrl(shown, problem="it names a host", hint="a file takes three slashes: sqlite:///FILE")
        if not slash:
            raise BadStoreUrl(shown, problem="the file is missing", hint="a store without a file is memory:")
    place = unquote(place, errors="strict") if _decodes(place) else place
    if place in ("", ":memory:", "/:memory:"):
        raise BadStoreUrl(shown, problem="the file is missing", hint="a store without a file is memory:")
    if "\0" in place or place.endswith("/") or Path(place).name in ("", ".", ".."):
        raise BadStoreUrl(shown, problem="it names no file")
    options = _options(query, shown)
    path = Path(place).expanduser() if place.startswith("~") else Path(place)
    return SqliteUrl(
        path=Path((base or Path.cwd()) / path),
        mode=_mode(options.get("mode", "rwc"), shown),
        timeout=_seconds(options["timeout"], shown) if "timeout" in options else None,
    )


def _decodes(place: str) -> bool:
    try:
        unquote(place, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _options(query: str, shown: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        if key not in _OPTIONS or not equals:
            near = did_you_mean(key, _OPTIONS)
            hint = (
                f"did you mean {near}?"
                if near
                else f"it takes {' and '.join(_OPTIONS)}; in a name, %3F is a question mark"
            )
            raise BadStoreUrl(shown, problem=f"unknown option {key!r}", hint=hint)
        if key in options:
            raise BadStoreUrl(shown, problem=f"option {key!r} is given twice")
        options[key] = unquote(value)
    return options


def _mode(text: str, shown: str) -> Mode:
    if text not in _MODES:
        raise BadStoreUrl(shown, problem=f"mode is one of {', '.join(_MODES)}, not {text!r}")
    return text


def _seconds(text: str, shown: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text):
        raise BadStoreUrl(shown, problem=f"timeout is a number of seconds, not {text!r}")
    return float(text)


def _server(backend: str, driver: str, rest: str, shown: str) -> ServerUrl:
    if driver not in _DRIVERS[backend]:
        raise BadStoreUrl(shown, problem=f"{backend} is not driven through {driver!r}")
    if not rest.startswith("//") or rest.startswith("///"):
        raise BadStoreUrl(shown, problem="the host is missing")
    return parse_server(backend, rest, shown)

"""Stores opened for one command, and the run that a person means: a full id, a prefix, ``@last`` or ``@-2``."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.app.config import Named
from orchestrator.app.notes import Note, read_notes
from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import frozen
from orchestrator.journal.errors import NoDatabase, NoSuchRun
from orchestrator.journal.store import RunFilter
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.app.config import Config
    from orchestrator.journal.store import RunRow, Store

RUN_ID = regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LAST = regex(r"@(?:last|-(\d{1,4}))")


class BadRunId(OrchError):
    """The text can be no run's id."""

    code: ClassVar[str] = "E004"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:140]!r} is no run id", hint="an id has letters, digits, `_`, `.` and `-`, and at most 128 of them"
        )


class AmbiguousRun(OrchError):
    """Several runs begin with the prefix."""

    code: ClassVar[str] = "E302"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, prefix: str, found: list[str]) -> None:
        super().__init__(f"{prefix!r} is the beginning of {len(found)} runs or more", hint=f"one of {', '.join(found)}")


class NotThatManyRuns(OrchError):
    """``@last`` or ``@-n`` where there are fewer runs."""

    code: ClassVar[str] = "E305"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, reference: str, count: int, store: str) -> None:
        what = f"only {count} run{'s' if count != 1 else ''}" if count else "no runs"
        super().__init__(f"there is no run {reference}: {store} has {what}", hint="`orch run FILE` starts one")


@frozen
class Found:
    """A run, in the store that holds it (open), and how that was named."""

    store: Store
    row: RunRow
    named: Named


_SETTINGS = {"connect": "connect_timeout", "statement": "statement_timeout", "lock": "busy_timeout"}


def build_store(named: Named, config: Config) -> Store:
    """The store that ``named`` names, not opened yet. Raises ``BadStoreUrl`` and ``SecretsMissing``."""
    from orchestrator.stores import StoreSettings, open_store

    said = {"table_prefix": config.table_prefix, "pool": config.pool}
    said |= {_SETTINGS[name]: seconds for name, seconds in config.timeouts.items()}
    settings: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    return open_store(_revealed(named.url), settings=StoreSettings(base=named.folder, **settings))


def absolute_url(named: Named) -> str:
    """The URL, which means the same from every folder; references to secrets stay references."""
    from urllib.parse import quote

    from orchestrator.stores.urls import SqliteUrl, parse_url

    if "${{" in named.url:
        return named.url
    place = parse_url(named.url, base=named.folder)
    if not isinstance(place, SqliteUrl):
        return named.url
    query = named.url.partition("?")[2]
    return f"sqlite:{quote(str(place.path.absolute()))}{'?' if query else ''}{query}"


def _revealed(url: str) -> str:
    """The URL with its references to secrets resolved: percent-encoded where user, password and options stand, so that
    any value is one.
    """
    if "${{" not in url:
        return url
    from urllib.parse import quote

    from orchestrator.app.secrets import SecretsMissing, secret_value

    authority, user_ends, options = url.find("://"), url.rfind("@"), url.find("?")

    def value(match: re.Match[str]) -> str:
        found = secret_value(match[1])
        if not isinstance(found, str):
            raise SecretsMissing([found])
        encoded = 0 <= authority < match.start() < user_ends or 0 <= options < match.start()
        return quote(found, safe="") if encoded else found

    return re.sub(r"\$\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}", value, url)


@asynccontextmanager
async def opened(named: Named, config: Config, *, create: bool, older: bool = False) -> AsyncGenerator[Store]:
    """The store, open as ``Store.open`` has it; closed at the end."""
    store = build_store(named, config)
    await store.open(create=create, older=older)
    try:
        yield store
    except BaseException as error:
        if not isinstance(error, Exception):
            # Whoever typed Ctrl-C waits for no store that does not answer.
            store.abandon()
        raise
    finally:
        await store.aclose()


@asynccontextmanager
async def found_run(reference: str, config: Config) -> AsyncGenerator[Found]:
    """The run that ``reference`` means, its store open. Raises ``NoSuchRun``, ``AmbiguousRun`` and ``BadRunId``.

    The configured store is asked first, then the one that was noted when the run was started; of two that have a last
    run, the later one counts.
    """
    if not _LAST.fullmatch(reference) and not RUN_ID.fullmatch(reference):
        raise BadRunId(reference)
    chosen = config.chosen()
    noted = None if chosen.explicit else _noted(reference, read_notes(), str(Path.cwd()))
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(opened(chosen, config, create=False))
            row = await _pick(store, reference)
        except (NoDatabase, NoSuchRun, NotThatManyRuns) as error:
            if noted is None:
                # A store that was asked for by name has to be there; the default one comes with the first run.
                absent = isinstance(error, NoDatabase) and not chosen.explicit
                raise NoSuchRun(reference) if absent else error from None
        else:
            if noted is None or not _LAST.fullmatch(reference) or noted.at <= row.created_at:
                yield Found(store, row, chosen)
                return
        named = Named(noted.store, Path(noted.base), "note")
        if noted.prefix is not None:
            config = replace(config, table_prefix=noted.prefix or None)
        async with opened(named, config, create=False) as store:
            yield Found(store, await _pick(store, noted.run), named)


def _noted(reference: str, notes: list[Note], here: str) -> Note | None:
    last = _LAST.fullmatch(reference)
    if last:
        mine = [note for note in notes if note.folder == here]
        back = int(last[1] or 1)
        return mine[back - 1] if 0 < back <= len(mine) else None
    exact = [note for note in notes if note.run == reference]
    return (exact or [note for note in notes if note.run.startswith(reference)] or [None])[0]


async def _pick(store: Store, reference: str) -> RunRow:
    last = _LAST.fullmatch(reference)
    if last:
        back = int(last[1] or 1)
        rows = await store.list_runs(RunFilter(limit=max(back, 1)))
        if back < 1 or len(rows) < back:
            raise NotThatManyRuns(reference, len(rows), store.name)
        return rows[back - 1]
    with suppress(NoSuchRun):
        return await store.get_run(reference)
    rows = await store.find_runs(reference, limit=10)
    if not rows:
        raise NoSuchRun(reference)
    if len(rows) > 1:
        raise AmbiguousRun(reference, [row.run_id for row in rows])
    return rows[0]

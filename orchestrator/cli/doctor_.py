"""``orch doctor``: what this installation has, and what it lacks. Keys are looked for, and never printed."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import typer  # noqa: TC002  typer reads the annotations

from orchestrator.cli.flags import version
from orchestrator.cli.render.text import one_line
from orchestrator.cli.session import Session, begin, run_async
from orchestrator.errors import OrchError
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES = (
    "anyio", "typer", "rich", "ruamel.yaml", "jsonschema-rs", "google-re2", "httpx2", "anthropic",
    "asyncpg", "aiomysql",
)  # fmt: skip
_EXTRAS = {"openai": "models of provider openai", "mcp": "`mcp` tools"}
_KEYS = {"ANTHROPIC_API_KEY": "provider anthropic", "OPENAI_API_KEY": "provider openai"}
_OLDEST_SQLITE = (3, 38, 0)
_SOUND_SQLITE = (3, 51, 3)


@frozen
class Check:
    """``fail`` stands in the way, ``warn`` may one day."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str


def doctor(context: typer.Context) -> int:
    """Check this installation: versions, store, sandbox, keys."""
    session = begin(context)
    checks = list(_checks(session))
    failed = any(check.status == "fail" for check in checks)
    if session.flags.machine:
        session.screen.data(
            {"format": "orch.doctor/1", "ok": not failed, "checks": [asdict(check) for check in checks]}
        )
        return int(failed)
    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        mark = session.screen.style(f"{check.status:4}", colors[check.status], stream=sys.stdout)
        session.screen.data_text(f"{mark}  {check.name:14}  {one_line(check.detail)}\n")
    return int(failed)


def _checks(session: Session) -> Iterator[Check]:
    yield Check("orch", "ok", version())
    wanted = sys.version_info >= (3, 11)
    yield Check("python", "ok" if wanted else "fail", f"{sys.version.split()[0]} at {sys.executable}")
    linux = sys.platform == "linux"
    yield Check("platform", "ok" if linux else "warn", sys.platform if linux else f"{sys.platform}: untested")
    yield _sqlite()
    yield from (_package(name) for name in _PACKAGES)
    yield from (_extra(name, use) for name, use in _EXTRAS.items())
    yield from _plugins()
    yield _store(session)
    yield _sandbox()
    yield from (_key(name, use) for name, use in _KEYS.items())


def _sqlite() -> Check:
    import sqlite3

    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        return Check("sqlite", "fail", f"{found}: 3.38 or later is needed")
    if sqlite3.sqlite_version_info < _SOUND_SQLITE:
        return Check(
            "sqlite", "warn", f"{found}: before 3.51.3 a rare reset of the write-ahead log can corrupt a database"
        )
    return Check("sqlite", "ok", found)


def _package(name: str) -> Check:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return Check(name, "ok", of(name))
    except PackageNotFoundError:
        return Check(name, "fail", "not installed")


def _extra(name: str, use: str) -> Check:
    """A package that one may do without."""
    found = _package(name)
    if found.status == "ok":
        return found
    return Check(name, "warn", f"not installed: {use} need it (pip install 'orchestrator[{name}]')")


def _plugins() -> Iterator[Check]:
    """What other distributions offer. They are named here, and imported only where a file names them."""
    from importlib.metadata import entry_points

    for group in ("orchestrator.providers", "orchestrator.tools"):
        for point in entry_points(group=group):
            origin = point.dist.name if point.dist else "?"
            yield Check("plug-in", "ok", f"{group.rpartition('.')[2]} {point.name} = {point.value} from {origin}")


def _store(session: Session) -> Check:
    from orchestrator.app.runs import opened
    from orchestrator.journal.errors import NoDatabase

    async def check() -> Check:
        config = session.config()
        async with opened(config.chosen(), config, create=False) as store:
            problems = await store.check()
            return Check("store", "fail" if problems else "ok", "; ".join(problems) or store.name)

    try:
        return run_async(check)
    except NoDatabase as error:
        return Check("store", "ok", f"{error.message}; the first run makes it")
    except OrchError as error:
        return Check("store", "fail", error.message)


def _sandbox() -> Check:
    from orchestrator.tools.sandbox import PROGRAM, why_none

    why = why_none()
    return Check("sandbox", "warn" if why else "ok", f"{why}: no sandbox" if why else str(shutil.which(PROGRAM)))


def _key(name: str, use: str) -> Check:
    if os.environ.get(name):
        return Check(name, "ok", f"set, for {use}")
    if os.environ.get(f"{name}_FILE"):
        return Check(name, "ok", f"in a file, for {use}")
    return Check(name, "warn", f"not set: {use} needs it")


COMMANDS = {"doctor": doctor}

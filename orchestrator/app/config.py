"""What to use and where it was said: flags, ``ORCH_*`` variables, ``orch.toml``, the user's own file, defaults.

``orch.toml`` is found from a folder upwards. A relative SQLite path resolves against the file that names it; from a
flag, a variable or the default, against the working directory.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator.app.places import key_mark
from orchestrator.errors import Exit, OrchError, did_you_mean
from orchestrator.frozen import field, frozen
from orchestrator.platform import home
from orchestrator.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.spec.diagnostics import Diagnostic, Mark

DEFAULT_STORE = "sqlite:///.orch/runs.db"
FILE_NAME = "orch.toml"
_LARGEST = 1024 * 1024
_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_PART = regex(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = regex(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_TIMEOUTS = ("connect", "statement", "lock")
_PREFIX = regex(r"[a-z][a-z0-9_]{0,30}")


class ConfigErrors(OrchError):
    """A configuration file or variable that cannot be used. ``texts`` maps names of files to their texts."""

    code: ClassVar[str] = "E010"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, diagnostics: list[Diagnostic], *, texts: Mapping[str, str] | None = None) -> None:
        super().__init__("\n".join(str(one) for one in diagnostics))
        self.diagnostics = tuple(diagnostics)
        self.texts = dict(texts or {})


class UnknownKey(ValueError):
    """A key inside a table that means nothing."""

    def __init__(self, key: str, hint: str) -> None:
        super().__init__(key)
        self.key = key
        self.hint = hint


@frozen
class Named:
    """A store's URL, with the folder that a relative path in it is meant from, and who named it."""

    url: str
    folder: Path
    by: str
    explicit: bool = False


@frozen(kw_only=True)
class Config:
    """Settings that hold for one command. ``lease`` and ``timeouts`` (by ``connect``, ``statement``, ``lock``) are in
    seconds.

    ``store`` is what a flag, a variable or ``orch.toml`` says, ``fallback`` what the user's own file says, else the
    default: a pipeline file's own ``store`` stands between the two.
    """

    store: Named | None
    fallback: Named
    table_prefix: str | None = None
    lease: float | None = None
    pool: int | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict[str, float])
    project: Path | None = None
    models: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def chosen(self, *, from_file: str | None = None, file: Path | None = None) -> Named:
        """The store to use, for a pipeline ``file`` whose own ``store`` is ``from_file``."""
        if self.store is not None:
            return self.store
        if from_file and file is not None:
            return Named(from_file, file.absolute().parent, str(file))
        return self.fallback


def load_config(
    *, flag: str | None = None, near: Path | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration for a file (``near``), or for the working directory. Raises ``ConfigErrors``."""
    env = os.environ if environ is None else environ
    here = Path.cwd()
    project = find_upwards(near.absolute().parent if near is not None else here)
    user = user_file(env)
    problems: list[Diagnostic] = []
    texts: dict[str, str] = {}
    ours = _read(project, problems, texts) if project else {}
    theirs = _read(user, problems, texts) if user.is_file() else {}
    variables = _variables(env, problems)
    if problems:
        raise ConfigErrors(problems, texts=texts)
    merged: dict[str, Any] = {**theirs, **ours, **variables}
    return Config(
        store=_named(flag, env, ours, project, here),
        fallback=Named(theirs["store"], user.parent, str(user))
        if "store" in theirs
        else Named(DEFAULT_STORE, here, ""),
        table_prefix=merged.get("table_prefix"),
        lease=merged.get("lease"),
        pool=merged.get("pool"),
        timeouts={**theirs.get("timeouts", {}), **ours.get("timeouts", {})},
        project=project,
    )


def _named(
    flag: str | None, env: Mapping[str, str], ours: Mapping[str, Any], project: Path | None, here: Path
) -> Named | None:
    if flag is not None:
        return Named(flag, here, "--store", explicit=True)
    if env.get("ORCH_STORE"):
        return Named(env["ORCH_STORE"], here, "ORCH_STORE", explicit=True)
    if project is not None and "store" in ours:
        return Named(ours["store"], project.parent, str(project))
    return None


def find_upwards(folder: Path) -> Path | None:
    """The nearest ``orch.toml`` from ``folder`` upwards."""
    for each in (folder, *folder.parents):
        candidate = each / FILE_NAME
        if candidate.is_file():
            return candidate
    return None


def user_file(env: Mapping[str, str]) -> Path:
    """Where the user's own configuration is (``$XDG_CONFIG_HOME``, else ``~/.config``)."""
    root = env.get("XDG_CONFIG_HOME")
    return (Path(root) if root else home() / ".config") / "orch" / "config.toml"


def duration(value: Any) -> float:
    """Seconds of a text as ``15s`` or ``1m30s``. Raises ValueError with a sentence."""
    if not isinstance(value, str):
        raise ValueError('expected a duration as text, as "15s"')
    if not _DURATION.fullmatch(value):
        raise ValueError(f'{value[:40]!r} is not a duration, as "15s" or "1m30s" is')
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value)) / 1_000_000


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected text")
    return value


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError("a prefix is [a-z][a-z0-9_]{0,30}")
    return value


def _lease(value: Any) -> float:
    seconds = duration(value)
    if not 0.5 <= seconds <= 3600:
        raise ValueError("a lease is from 500ms to 1h")
    return seconds


def _pool(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 100:
        raise ValueError("a pool is a number of connections from 2 to 100")
    return value


def _timeouts(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a table of {', '.join(_TIMEOUTS)}")
    found: dict[str, float] = {}
    for key, text in cast("dict[str, Any]", value).items():
        if key not in _TIMEOUTS:
            close = did_you_mean(key, _TIMEOUTS)
            raise UnknownKey(key, f"did you mean `{close}`?" if close else f"known are {', '.join(_TIMEOUTS)}")
        try:
            seconds = duration(text)
        except ValueError as error:
            raise ValueError(f"`{key}`: {error}") from None
        if not 0.1 <= seconds <= 600:
            raise ValueError(f"`{key}`: a timeout is from 100ms to 10m")
        found[key] = seconds
    return found


def _later(_: Any) -> None:
    raise NotImplementedError


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "store": _text,
    "table_prefix": _prefix,
    "lease": _lease,
    "pool": _pool,
    "timeouts": _timeouts,
    "models": _later,
    "policy": _later,
    "notify": _later,
}
_VARIABLES = {"ORCH_TABLE_PREFIX": "table_prefix", "ORCH_LEASE": "lease"}


def _variables(env: Mapping[str, str], problems: list[Diagnostic]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, key in _VARIABLES.items():
        if env.get(variable):
            try:
                found[key] = _KEYS[key](env[variable])
            except ValueError as error:
                problems.append(_problem("E013", f"{variable}: {error}"))
    return found


def _read(path: Path, problems: list[Diagnostic], texts: dict[str, str]) -> dict[str, Any]:
    import tomllib

    shown = shown_path(path)
    text = ""
    try:
        body = path.read_bytes()
        if len(body) > _LARGEST:
            raise ValueError("is over 1 MiB")
        texts[shown] = text = body.decode()
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        last = text.splitlines() or [""]
        line, column = (int(place[1]), int(place[2])) if place else (len(last), len(last[-1]) + 1)
        message = str(error).partition(" (at ")[0]
        from orchestrator.spec.diagnostics import Mark

        problems.append(_problem("E011", f"this is not TOML: {message}", Mark(shown, line, column, line, column + 1)))
        return {}
    except OSError as error:
        problems.append(_problem("E012", f"{shown} cannot be read: {error.strerror}"))
        return {}
    except (ValueError, RecursionError) as error:
        message = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error) or "is nested too deep"
        problems.append(_problem("E012", f"{shown} {message}"))
        return {}
    return _checked(data, shown, text, problems)


def _checked(data: dict[str, Any], shown: str, text: str, problems: list[Diagnostic]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        check = _KEYS.get(key)
        if check is None:
            close = did_you_mean(key, list(_KEYS))
            hint = f"did you mean `{close}`?" if close else f"known are {', '.join(_KEYS)}"
            problems.append(_problem("E010", f"unknown key `{key[:80]}`", key_mark(shown, text, key), hint))
            continue
        try:
            found[key] = check(value)
        except NotImplementedError:
            problems.append(_problem("E190", f"`{key}` is not available yet", key_mark(shown, text, key)))
        except UnknownKey as error:
            message = f"unknown key `{error.key[:80]}` in `{key}`"
            problems.append(_problem("E010", message, key_mark(shown, text, key), error.hint))
        except ValueError as error:
            problems.append(_problem("E013", f"`{key}`: {error}", key_mark(shown, text, key)))
    return found


def _problem(code: str, message: str, mark: Mark | None = None, hint: str | None = None) -> Diagnostic:
    # Only a configuration that is wrong pays for the import.
    from orchestrator.spec.diagnostics import Diagnostic

    return Diagnostic(code, message, mark, hint)


def shown_path(path: Path) -> str:
    """A path as people know it: relative where it lies under the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

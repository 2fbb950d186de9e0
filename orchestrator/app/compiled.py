"""Graphs compiled before, so that running a file again needs neither YAML nor the compiler.

An entry holds for one file under one name, seen from one folder, by one state of this program; it counts only while
every file that was read for it has the bytes that it had. What had a finding is not kept: it is to be said again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator import jsonish
from orchestrator.frozen import frozen
from orchestrator.platform import home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.graph.nodes import Graph

_FORMAT = 2
_KEPT = 200
_COMPILER = ("spec", "compiler", "expr", "graph", "agents", "jsonish.py", "tools/inspection.py", "tools/functions.py")


@frozen
class Entry:
    """A graph, with what the file says of its store."""

    graph: Graph
    store: str | None


def cache_folder() -> Path:
    """Where entries are (``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "orch" / "graphs"


def recall(file: str, models: Mapping[str, str]) -> Entry | None:
    """The graph of a file, if it was compiled before and nothing has changed since."""
    from orchestrator.graph.fingerprint import Stored, restored

    try:
        line, _, body = _path(file, models).read_bytes().partition(b"\n")
        head = cast("dict[str, Any]", jsonish.loads(line))
        if all(_digest(name) == known for name, known in head["files"].items()):
            return Entry(restored(Stored(body, head["name"], head["hash"])), head["store"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # No entry, or none that can be read: compiling makes it again.
        return None
    return None


def remember(file: str, models: Mapping[str, str], entry: Entry, functions: list[str]) -> None:
    """Keep a graph, as runs keep it, below a line with what else is to be known of it. ``functions`` are the files of
    python functions that were looked at for it."""
    path = _path(file, models)
    if any(Path(name).name == "SKILL.md" for name in entry.graph.sources):
        return  # what else is in the folder of a skill counts, and is no file that was read
    with suppress(OSError):
        files = {**entry.graph.sources, **{name: _digest(name) for name in functions}}
        body, name, identity = entry.graph.stored
        head = {"files": files, "hash": identity, "name": name, "store": entry.store}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(jsonish.canonical(head) + b"\n" + body)
        fresh.replace(path)
        _prune(path.parent)


def _path(file: str, models: Mapping[str, str]) -> Path:
    key = json.dumps([_FORMAT, _program(), str(Path.cwd()), file, sorted(models.items())])
    return cache_folder() / f"{jsonish.digest(key.encode('utf-8', 'surrogateescape'))[:40]}.json"


def _program() -> list[tuple[str, int, int]]:
    """The state of the code that makes graphs, by the times and sizes of its files."""
    root = Path(__file__).parents[1]
    found: list[tuple[str, int, int]] = []
    for name in _COMPILER:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            facts = path.stat()
            found.append((path.name, facts.st_mtime_ns, facts.st_size))
    return found


def _digest(name: str) -> str:
    return jsonish.digest(Path(name).read_bytes())


def _prune(folder: Path) -> None:
    """Keep the entries that were made last."""
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in entries[: max(len(entries) - _KEPT, 0)]:
        path.unlink(missing_ok=True)

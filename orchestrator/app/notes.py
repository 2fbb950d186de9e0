"""Which store a run of this user is in: a line per run, so that a run is found from any folder.

The file is ``runs.jsonl`` in the user's state directory. A URL that holds a password is not noted; one with references
to secrets is noted as written.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from orchestrator.frozen import frozen
from orchestrator.platform import user_state_dir

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 1024 * 1024


@frozen
class Note:
    """``store`` is an URL, ``base`` what a relative path in it is meant from; ``folder`` is where the run was started,
    ``at`` when (microseconds since the epoch). ``prefix`` is that of its tables; None where an older note says none.
    """

    run: str
    store: str
    base: str
    folder: str
    at: int
    prefix: str | None = None


def write_note(note: Note) -> None:
    """Keep a note. A state directory that cannot be written costs the convenience, not the run."""
    if has_password(note.store):
        return
    path = notes_path()
    line = json.dumps(asdict(note)) + "\n"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _shorten(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_notes(path: Path | None = None) -> list[Note]:
    """The notes, newest first; lines that are none are passed over."""
    try:
        lines = (path or notes_path()).read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return []
    found: dict[str, Note] = {}
    for line in reversed(lines):
        note = _parse(line)
        if note is not None:
            found.setdefault(note.run, note)
    return list(found.values())


def notes_path() -> Path:
    """Where the notes are."""
    return user_state_dir() / "runs.jsonl"


def _parse(line: str) -> Note | None:
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    found = cast("dict[str, Any]", data)
    run, store, base, folder, at = (found.get(name) for name in ("run", "store", "base", "folder", "at"))
    if type(at) is not int or not all(isinstance(text, str) for text in (run, store, base, folder)):
        return None
    prefix = found.get("prefix")
    return Note(str(run), str(store), str(base), str(folder), at, prefix if isinstance(prefix, str) else None)


def _shorten(path: Path) -> None:
    """Keep the newer half of a file that has grown too long."""
    if not path.exists() or path.stat().st_size < _LARGEST:
        return
    lines = path.read_bytes().splitlines(keepends=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(b"".join(lines[len(lines) // 2 :]))
    fresh.chmod(0o600)
    fresh.replace(path)


def has_password(url: str) -> bool:
    """True where a URL holds a password, and a run in it is not noted."""
    authority = url.partition("://")[2].partition("/")[0]
    user, at, _ = authority.rpartition("@")
    options = [item.partition("=") for item in url.partition("?")[2].split("&")]
    in_query = any(key.lower() == "password" and "${{" not in value for key, _, value in options)
    return in_query or (bool(at) and ":" in user and "${{" not in user)

"""Files below one root, as tools: read, list, glob, grep, write, edit.

Request: ``{"operation": NAME, "root": absolute path, "args": {…}, "max_size": bytes (1 MiB), "bounds": {"deny":
[pattern], "allow": [pattern]}}``; the arguments of each operation are in ``FILE_OPERATIONS``. Paths are relative to the
root, and nothing outside of it is reached (``rooted``, ``search``). Of list, glob and grep come only paths that meet no
pattern of ``deny`` and, where it is given, one of ``allow``.

Read gives text, list ``[{"name", "type", "size"}]``, glob ``[path]``, grep ``[{"path", "line", "text"}]``, write
``{"path", "bytes"}``, edit ``{"path", "line"}``.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.tools import rooted
from orchestrator.tools.policy import failed, finish
from orchestrator.tools.rooted import FileRefused
from orchestrator.tools.search import Paths, TooMuch, glob, grep

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.tools.protocol import CallContext, Outcome

MAX_SIZE = 1024 * 1024
"""Bytes of a file that is read, searched or written, by default."""

LISTED = 10_000
"""Entries of a folder that is listed."""

_editing = threading.Lock()


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Do one operation. See the module for the request."""
    operation = _operation(request)
    root, args = str(request["root"]), dict(request.get("args") or {})
    max_size = int(request.get("max_size") or MAX_SIZE)
    # What only reads may be left alone in its thread; what writes is waited for, and is quick.
    alone = FILE_OPERATIONS[request["operation"]].effect == "read"
    try:
        value = await to_thread.run_sync(
            operation, root, args, max_size, context.idempotency_key, abandon_on_cancel=alone
        )
    except (FileRefused, TooMuch) as error:
        why = error.message + (f"; {error.hint}" if error.hint else "")
        return failed(context, "tool_error", why, no_effect=True)
    except OSError as error:
        return failed(context, "tool_error", f"{request['operation']}: {error.strerror or error}")
    return finish(value, context)


def _read(root: str, args: dict[str, Any], max_size: int, key: str) -> str:
    *above, name = _file_parts(args["path"])
    offset, limit = args.get("offset"), args.get("limit")
    shown = args["path"]
    with rooted.folder(root, above) as at:
        if limit is None and offset is None:
            body = rooted.read_whole(at, name, shown, max_size)
        else:
            body = _lines(at, name, shown, int(offset or 1), limit, max_size)
    if b"\0" in body[:8192]:
        raise FileRefused(shown, "no text: it holds NUL bytes")
    return body.decode("utf-8", "replace")


def _lines(at: int, name: str, shown: str, offset: int, limit: int | None, max_size: int) -> bytes:
    """Lines ``offset`` to ``offset + limit``, read in pieces: a large file is never held."""
    if offset < 1 or (limit is not None and limit < 1):
        raise FileRefused(shown, "offset and limit count lines from 1")
    descriptor, _ = rooted.open_file(at, name, shown)
    kept: list[bytes] = []
    size = 0
    with open(descriptor, "rb", buffering=1 << 16) as file:  # noqa: PTH123  of a descriptor
        number = 1
        while limit is None or number < offset + limit:
            piece = file.readline(1 << 16)
            if not piece:
                break
            if number >= offset:
                kept.append(piece)
                size += len(piece)
            if size > max_size:
                raise FileRefused(shown, f"these lines have over {max_size} bytes; read fewer")
            number += piece.endswith(b"\n")
    return b"".join(kept)


def _list(root: str, args: dict[str, Any], max_size: int, key: str, *, paths: Paths) -> list[dict[str, Any]]:
    path = args.get("path") or "."
    parts = rooted.split(path)
    with rooted.folder(root, parts) as at:
        entries = rooted.entries(at)
    found = [
        {"name": name, "type": kind, "size": size}
        for name, kind, size in entries
        if paths.lists("/".join([*parts, name]), kind)
    ]
    if len(found) > LISTED:
        raise TooMuch(path, f"over {LISTED} entries")
    return found


def _glob(root: str, args: dict[str, Any], max_size: int, key: str, *, paths: Paths) -> list[str]:
    return glob(root, args["pattern"], paths=paths)


def _grep(root: str, args: dict[str, Any], max_size: int, key: str, *, paths: Paths) -> list[dict[str, Any]]:
    return grep(root, args["pattern"], rooted.split(args.get("path") or "."), max_size, paths=paths)


def _write(root: str, args: dict[str, Any], max_size: int, key: str) -> dict[str, Any]:
    *above, name = _file_parts(args["path"])
    body = _encoded(args["content"], args["path"], max_size)
    with rooted.folder(root, above, make=True) as at:
        rooted.replace(at, name, args["path"], body, mark=key)
    return {"path": "/".join([*above, name]), "bytes": len(body)}


def _edit(root: str, args: dict[str, Any], max_size: int, key: str) -> dict[str, Any]:
    *above, name = _file_parts(args["path"])
    shown, old, new = args["path"], args["old"], args["new"]
    if not old:
        raise FileRefused(shown, "the old text is empty")
    # Two edits of one file at once would each drop the other's.
    with _editing, rooted.folder(root, above) as at:
        try:
            text = rooted.read_whole(at, name, shown, max_size).decode()
        except UnicodeDecodeError:
            raise FileRefused(shown, "no UTF-8 text") from None
        path = "/".join([*above, name])
        if rooted.mark_of(at, name, shown) == key:
            # This very edit was made by an attempt whose end was lost; made again it could apply twice.
            return {"path": path, "line": text.count("\n", 0, max(text.find(new), 0)) + 1}
        count = text.count(old)
        if count != 1:
            raise FileRefused(shown, f"the old text occurs {count} times, and must occur exactly once")
        where = text.index(old)
        body = _encoded(text[:where] + new + text[where + len(old) :], shown, max_size)
        rooted.replace(at, name, shown, body, mark=key)
    return {"path": path, "line": text.count("\n", 0, where) + 1}


def _file_parts(path: str) -> tuple[str, ...]:
    parts = rooted.split(path)
    if not parts or path.endswith("/"):
        raise FileRefused(path or "''", "no path of a file")
    return parts


def _encoded(text: str, shown: str, max_size: int) -> bytes:
    body = text.encode("utf-8", "replace")
    if len(body) > max_size:
        raise FileRefused(shown, f"{len(body)} bytes, over {max_size}")
    return body


_RUN: dict[str, Callable[[str, dict[str, Any], int, str], Any]] = {"read": _read, "write": _write, "edit": _edit}
_SEARCH: dict[str, Callable[..., Any]] = {"list": _list, "glob": _glob, "grep": _grep}


def _operation(request: dict[str, Any]) -> Callable[[str, dict[str, Any], int, str], Any]:
    """What performs a request; a search is bound to the paths that may come out of it."""
    name = request["operation"]
    if name not in _SEARCH:
        return _RUN[name]
    bounds: dict[str, list[str]] = request.get("bounds") or {}
    allow = bounds.get("allow")
    return partial(_SEARCH[name], paths=Paths(tuple(bounds.get("deny", ())), None if allow is None else tuple(allow)))

"""The Python steps of quickstart.yaml and review.yaml: walk a folder, measure a file, write the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SOURCES = frozenset({".py", ".pyi", ".js", ".ts", ".go", ".rs", ".c", ".h", ".cc", ".java", ".rb", ".sh", ".sql"})
COMMENTS = ("#", "//", "--", "/*", "*")
MOST_FILES = 1000
MOST_BYTES = 4_000_000


def walk(folder: str, path: str) -> dict[str, Any]:
    """Source files under ``path``, relative to it and sorted, the largest ``MOST_FILES`` of them.

    Folders whose name begins with a dot or an underscore hold what tools made, and are left out, as are links and
    files over ``MOST_BYTES``.
    """
    root = Path(folder, path)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    found: list[tuple[int, str]] = []
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] not in "._" and not name.endswith(".egg-info"))
        for name in names:
            file = Path(here, name)
            if file.suffix in SOURCES and not file.is_symlink() and (size := file.stat().st_size) <= MOST_BYTES:
                found.append((-size, file.relative_to(root).as_posix()))
    kept = sorted(found)[:MOST_FILES]
    return {"files": sorted(file for _, file in kept), "left_out": len(found) - len(kept)}


def measure(folder: str, path: str, file: str) -> dict[str, Any]:
    """The size of one file: bytes, lines, lines that are neither blank nor comment, and the longest line."""
    body = Path(folder, path, file).read_bytes()
    lines = body.decode("utf-8", "replace").splitlines()
    code = [line for line in map(str.strip, lines) if line and not line.startswith(COMMENTS)]
    return {
        "file": file,
        "bytes": len(body),
        "lines": len(lines),
        "code": len(code),
        "longest": max(map(len, lines), default=0),
    }


def report(
    folder: str,
    path: str,
    report: str,
    measured: list[dict[str, Any]],
    largest: list[dict[str, Any]],
    findings: list[dict[str, Any]],
    left_out: int,
    model: str,
) -> dict[str, Any]:
    """Write the report as Markdown. The same arguments write the same bytes, so a second call does no harm."""
    total = sum(one["lines"] for one in measured)
    code = sum(one["code"] for one in measured)
    said = {one["file"]: one["finding"] for one in findings}
    lines = [
        f"# Source files of {path}",
        "",
        f"{len(measured)} files, {total} lines, {code} of them code."
        + (f" {left_out} smaller files were left out." if left_out else ""),
        f"Model: {model}.",
        "",
        "| file | lines | code | bytes | longest line |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| `{f['file']}` | {f['lines']} | {f['code']} | {f['bytes']} | {f['longest']} |" for f in largest),
        "",
        "## What the agent said",
        "",
        *(f"- `{f['file']}`: {said.get(f['file'], 'nothing')}" for f in largest),
        "",
    ]
    target = Path(folder, report)
    body = "\n".join(lines).encode()
    target.write_bytes(body)
    return {"path": report, "bytes": len(body)}

"""Files below one root, reached by descriptors alone.

Each part of a path is opened relative to the descriptor of the one before it, and none may be a symbolic link: whatever
others do to the tree meanwhile, nothing outside of the root is opened. ``..`` and absolute paths are refused before
that.

A file with more than one hard link is refused too: its other name may stand outside, and nothing can tell. Writing puts
a new file in the old one's place, so another name of the old one keeps its contents.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import OrchError
from orchestrator.ids import new_nonce
from orchestrator.jsonish import clean_text

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

DEPTH = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MARK = "user.orch.edit"


class FileRefused(OrchError):
    """A path that the files tool does not touch, or that is not there."""

    code = "E640"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{clean_text(path)[:300]}: {why}")


def split(path: str) -> tuple[str, ...]:
    """The parts of a path below the root; none for the root itself. FileRefused where it could lead elsewhere."""
    if "\0" in path:
        raise FileRefused(path, "a NUL character in a path")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise FileRefused(path, "no Unicode text") from None
    if path.startswith("/"):
        raise FileRefused(path, "absolute; paths are relative to the root")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise FileRefused(path, "leads out by ..")
    if len(parts) > DEPTH:
        raise FileRefused(path, f"deeper than {DEPTH} folders")
    return parts


@contextmanager
def folder(root: str, parts: Sequence[str], *, make: bool = False) -> Generator[int]:
    """A descriptor of the folder at ``parts`` below ``root``; with ``make``, what is missing is made."""
    shown = "/".join(parts) or "."
    if make:
        os.makedirs(root, exist_ok=True)  # noqa: PTH103  beside calls that take descriptors
    with _named(shown):
        current = os.open(root, _FOLDER & ~os.O_NOFOLLOW)  # the root is the author's: it may be a link
    try:
        for part in parts:
            with _named(shown):
                inner = _enter(current, part, make=make)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def _enter(current: int, part: str, *, make: bool) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=current)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=current)  # noqa: PTH102  relative to a descriptor
    return os.open(part, _FOLDER, dir_fd=current)


def open_file(at: int, name: str, shown: str) -> tuple[int, os.stat_result]:
    """Descriptor and state of the regular file ``name`` in the folder ``at``. The caller closes it."""
    with _named(shown):
        descriptor = os.open(name, _FILE, dir_fd=at)
    state = os.fstat(descriptor)
    problem = None
    if stat.S_ISDIR(state.st_mode):
        problem = "a folder"
    elif not stat.S_ISREG(state.st_mode):
        problem = "no regular file"
    elif state.st_nlink > 1:
        problem = f"it has {state.st_nlink} names (hard links), and one may be outside of the root"
    if problem is not None:
        os.close(descriptor)
        raise FileRefused(shown, problem)
    return descriptor, state


def read_whole(at: int, name: str, shown: str, max_size: int) -> bytes:
    """All bytes of a file of at most ``max_size``; its size is looked at first, and never more is read."""
    descriptor, state = open_file(at, name, shown)
    try:
        if state.st_size > max_size:
            raise FileRefused(shown, f"{state.st_size} bytes, over {max_size}; read a part with offset and limit")
        chunks: list[bytes] = []
        left = max_size + 1
        while left and (chunk := os.read(descriptor, min(left, 1 << 20))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(descriptor)
    if not left:
        raise FileRefused(shown, f"over {max_size} bytes, and growing")
    return b"".join(chunks)


def replace(at: int, name: str, shown: str, body: bytes, *, mark: str) -> None:
    """Put a file with ``body`` in the place of ``name``, at once; a link or a special file there is refused.

    ``mark`` is kept with the new file where the file system can (see ``mark_of``).
    """
    mode = None
    with contextlib.suppress(FileNotFoundError), _named(shown, but=FileNotFoundError):
        state = os.stat(name, dir_fd=at, follow_symlinks=False)  # noqa: PTH116  relative to a descriptor
        if not stat.S_ISREG(state.st_mode):
            raise FileRefused(shown, "no regular file")
        mode = stat.S_IMODE(state.st_mode)
    scratch = f".orch-{new_nonce()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _named(shown):
        descriptor = os.open(scratch, flags, 0o666, dir_fd=at)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123  of a descriptor
                file.write(body)
                file.flush()
                if mode is not None:
                    os.fchmod(descriptor, mode)
                with contextlib.suppress(OSError):
                    os.setxattr(descriptor, _MARK, mark.encode())
                os.fsync(descriptor)
            os.rename(scratch, name, src_dir_fd=at, dst_dir_fd=at)  # noqa: PTH104  relative to a descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(scratch, dir_fd=at)  # noqa: PTH108  relative to a descriptor
            raise


def mark_of(at: int, name: str, shown: str) -> str:
    """The mark of the last ``replace`` of this file, or an empty text."""
    descriptor, _ = open_file(at, name, shown)
    try:
        return os.getxattr(descriptor, _MARK).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def entries(at: int) -> list[tuple[str, str, int]]:
    """Name, type (``file folder link other``) and size of all that stands in a folder, by name; nothing is followed."""
    found: list[tuple[str, str, int]] = []
    with os.scandir(at) as items:
        for item in items:
            try:
                state = item.stat(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            found.append((item.name, _type(state.st_mode), state.st_size))
    return sorted(found)


def _type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


@contextmanager
def _named(shown: str, *, but: type[OSError] | None = None) -> Generator[None]:
    """Turn an error of the system into one that names the path."""
    try:
        yield
    except OSError as error:
        if but is not None and isinstance(error, but):
            raise
        why = os.strerror(error.errno or 0)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "a symbolic link, or no folder"
        raise FileRefused(shown, why) from None

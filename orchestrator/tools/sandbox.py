"""Programs in a sandbox, by bubblewrap: no network, a read-only system, one folder that can be written.

What a program sees: ``/usr``, ``/bin``, ``/sbin``, ``/lib*``, and of ``/etc`` what programs need to run; a ``/proc``
of its own processes, a minimal ``/dev``, an empty ``/tmp``; the folder of its call, which it may write, and what its
caller names. Not there: homes, other folders, stores, and orch's own state, even where they are below that folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.errors import Exit, OrchError
from orchestrator.platform import user_state_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "bwrap"
_PROBE_SECONDS = 5.0
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki/ca-trust/extracted",
    "pki/tls/certs", "protocols", "services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_APART = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
_TMP = "/tmp"  # noqa: S108  the sandbox's own


class NoSandbox(OrchError):
    """A sandbox is required, and there is none to be had here."""

    code: ClassVar[str] = "E650"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, why: str, *, what: str = "a program") -> None:
        super().__init__(
            f"{what} requires a sandbox, and there is none here: {why}",
            hint="install bubblewrap (Debian: apt-get install bubblewrap), or write `sandbox: preferred`; "
            "`orch doctor` tells whether it works",
        )


def why_none() -> str | None:
    """Why there is no sandbox here, in a sentence; None where there is one. Tried once for each ``PATH``."""
    return _why_none(os.environ.get("PATH", os.defpath))


@lru_cache(8)
def _why_none(path: str) -> str | None:
    program = shutil.which(PROGRAM, path=path)
    if program is None:
        return f"bubblewrap ({PROGRAM}) is not installed"
    argv = [program, *_APART, *_base(), "--", "/bin/sh", "-c", ":"]
    try:
        # Where namespaces are forbidden it is there and does not work: only a try tells.
        tried = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, env={}, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}"
    if tried.returncode == 0:
        return None
    said = tried.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"{program} cannot make one: {said or f'exit {tried.returncode}'}"


def sandboxed(
    argv: Sequence[str],
    *,
    folder: str | Path,
    mode: str = "required",
    readable: Sequence[str | Path] = (),
    hidden: Sequence[str | Path] = (),
) -> list[str]:
    """``argv`` so that it runs in a sandbox; as it is where ``mode`` is ``none``, or ``preferred`` and there is none.

    ``folder`` (absolute, and there) is where it stands and may write; ``readable`` are other files and folders that it
    sees, some of which may come to be just before it starts; ``hidden`` are what it must not see, wherever that is.
    Raises NoSandbox where one is ``required`` and cannot be had, or where ``folder`` is the whole disk.
    """
    if mode == "none":
        return list(argv)
    home = Path(folder).resolve()
    why = why_none() or ("its working directory is the whole disk" if home == Path("/") else None)
    if why is not None:
        if mode == "required":
            raise NoSandbox(why, what=argv[0])
        return list(argv)
    words = [str(shutil.which(PROGRAM)), *_APART, *_base(), *_binds(home, readable, hidden)]
    words += ["--setenv", "HOME", _TMP, "--setenv", "TMPDIR", _TMP, "--remount-ro", "/"]
    return [*words, "--chdir", str(home), "--", *argv]


def _base() -> list[str]:
    """The system, read-only, and what every sandbox has of its own."""
    words = ["--die-with-parent", "--cap-drop", "ALL", "--hostname", "sandbox"]
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            words += ["--ro-bind", str(path), str(path)]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    # As root it could be written, and with it the kernel's settings for all.
    words += ["--proc", "/proc", "--remount-ro", "/proc"]
    return [*words, "--dev", "/dev", "--tmpfs", _TMP, "--dir", "/var/tmp", "--dir", "/run"]  # noqa: S108


def _binds(home: Path, readable: Sequence[str | Path], hidden: Sequence[str | Path]) -> list[str]:
    """The mounts of what is not the system's, outer ones first: so that the inner ones hold."""
    mounts: dict[Path, list[str]] = {}
    for path in _both_names(readable):
        if not any(path.is_relative_to(root) for root in _SYSTEM):
            mounts[path] = ["--ro-bind-try", str(path), str(path)]
    mounts[home] = ["--bind", str(home), str(home)]
    seen = list(mounts)
    for path in _both_names([user_state_dir(), *hidden]):
        # What is not below anything that is seen is not there in any case.
        if path.exists() and any(path != root and path.is_relative_to(root) for root in seen):
            mounts[path] = ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
    return [word for path in sorted(mounts, key=lambda path: len(path.parts)) for word in mounts[path]]


def _both_names(paths: Sequence[str | Path]) -> set[Path]:
    """Absolute paths, as they are named and as they are without links."""
    return {named for path in map(Path, paths) for named in (path.absolute(), path.resolve())}


def of_store(copies: Path) -> list[Path]:
    """What belongs to the store of a run whose stored files have their copies in ``copies``: no program's business."""
    if copies.name == "files":
        return [copies.parent if copies.parent.name == ".orch" else copies]
    store = copies.with_name(copies.name.removesuffix(".files"))
    return [copies, *(store.with_name(store.name + end) for end in ("", "-wal", "-shm", "-journal"))]

"""Python functions in a process of their own: killed when their time is over, and alone when they crash.

The request is that of ``python`` with ``"isolate": "process"``. The process gets ``PATH HOME LANG TZ TMPDIR`` and
``ORCH_IDEMPOTENCY_KEY``, runs in the call's folder, and looks for modules where this process does.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tools.context import ToolContext
from orchestrator.tools.policy import KEPT, failed, finish
from orchestrator.tools.processes import NotStarted, Vanished, run
from orchestrator.tools.protocol import Lost
from orchestrator.tools.sandbox import NoSandbox
from orchestrator.tools.shell import boxed, environment, shown

if TYPE_CHECKING:
    from orchestrator.tools.processes import Ended
    from orchestrator.tools.protocol import CallContext, Outcome

_WORKER = str(Path(__file__).with_name("worker.py"))
_OURS = Path(__file__).parents[1]
_PACKAGES = str(_OURS.parent)
_CALLED = b"+"


async def perform_isolated(request: dict[str, Any], context: CallContext) -> Outcome:
    """Call the function once, in a worker process."""
    folder = Path(request.get("folder") or context.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  made once, and most often there
    except OSError as error:
        return failed(context, "tool_error", f"{folder}: {error.strerror}", no_effect=True)
    argv = [sys.executable, "-I", "-X", "utf8", _WORKER]
    try:
        argv = boxed(argv, request, folder, context, readable=_readable(request) if "sandbox" in request else ())
    except NoSandbox as error:
        return failed(context, "no_sandbox", error.message, no_effect=True)
    end = await run(
        argv,
        env=environment(context, {}),
        folder=str(folder),
        stdin=json.dumps(_order(request, folder, context)).encode(),
        seen=shown(context),
    )
    match end:
        case NotStarted():
            return failed(context, "tool_error", f"no worker process: {end}", no_effect=True)
        case Vanished():
            return Lost("tool_error", "the worker process was killed from outside, and how far it got is not known")
        case _:
            return _outcome(end, request["ref"], context)


def _order(request: dict[str, Any], folder: Path, context: CallContext) -> dict[str, Any]:
    known: dict[str, Any] = {"folder": str(folder)}
    names = [field.name for field in fields(ToolContext) if field.name not in ("log", "folder")]
    return {
        "packages": _PACKAGES,
        "path": _search_path(),
        "ref": request["ref"],
        "search": request.get("search") or [],
        "args": request.get("args") or {},
        "context": known | {name: getattr(context, name) for name in names},
    }


def _outcome(end: Ended, ref: str, context: CallContext) -> Outcome:
    """What the worker said, or what its silence means: after ``+`` the function may have done anything."""
    called = end.stderr.startswith(_CALLED)
    if end.dropped_stderr:
        return failed(context, "too_large", f"{ref} returned over {KEPT} bytes of JSON")
    said = _said(end.stderr.removeprefix(_CALLED))
    if said is None:
        how = f"the worker process of {ref} ended with {_named(end.exit)} and no result"
        printed = context.redact(end.stdout.decode("utf-8", "replace")).strip().rpartition("\n")[2]
        message = f"{how}: {printed}" if printed else how
        return Lost("tool_error", message[:1000]) if called else failed(context, "tool_error", message, no_effect=True)
    if "value" in said:
        return finish(said["value"], context)
    return failed(
        context,
        str(said["code"]),
        str(said["message"]),
        status=said["status"],
        detail=said["detail"],
        no_effect=bool(said["no_effect"]),
    )


def _said(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and ("value" in found or "code" in found) else None


def _named(code: int) -> str:
    """An exit code, with the signal that it stands for."""
    try:
        return f"exit {code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return f"exit {code}"


def _readable(request: dict[str, Any]) -> list[str]:
    """What a worker reads beside the system's own folders: this interpreter, its packages, and modules beside those.

    Of a folder that is no environment only its modules: what else lies there is no business of a function's.
    """
    found = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        str(_OURS),
        str(Path(sys.executable).resolve().parent.parent),
    ]
    for entry in [*request.get("search", []), *_search_path()]:
        if Path(entry).name in ("site-packages", "dist-packages"):
            found.append(entry)
        elif not any(Path(entry).is_relative_to(root) for root in found):
            found += _modules(Path(entry))
    return [*found, *_origin(request["ref"])]


def _search_path() -> list[str]:
    return [str(Path(entry).absolute()) if entry in ("", ".") else entry for entry in sys.path]


def _modules(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".py", ".so") or (path / "__init__.py").is_file()
    ]


def _origin(ref: str) -> list[str]:
    """Where a package stands that is found by other means than ``sys.path``."""
    try:
        spec = find_spec(ref.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = spec.submodule_search_locations
    return list(places) if places is not None else [spec.origin] if spec.has_location and spec.origin else []

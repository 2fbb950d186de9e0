"""Programs and scripts as tools and steps.

Request, all keys but one of the first two optional::

    {"argv": [PROGRAM, ARGUMENT, …]}                      or
    {"script": TEXT, "shell": [PROGRAM, OPTION, …] | NAME, "args": […]}
    "stdin": text, or JSON that becomes text (absent or null: closed)
    "env": {NAME: value}                                  "env_names": [NAME of ours that is passed on, …]
    "launcher": [PROGRAM, …] put before the command       "expect": [0]
    "folder": working directory                           "files": {NAME: path} kept when the program has ended
    "sandbox": none | preferred | required (``sandbox``)
    "json": true, where stdout is one JSON document       "rlimits": {"cpu": seconds, "as": bytes, "nofile": n, …}

The output is ``{"exit", "stdout", "stderr"}``, or the document. A script stands in a file of its own: ``$0`` of bash
and sh, the ``{0}`` of any other shell (at the end where there is none). Behind a launcher, which may not see our files,
bash, sh and python3 get it by ``-c``. No value is ever inserted into a script. The program's environment is ``PATH HOME
LANG TZ TMPDIR`` as far as they are set here, ``ORCH_IDEMPOTENCY_KEY``, and ``env`` (a null takes a variable away).
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator.agents.attachments import media_type_of
from orchestrator.expr.runtime import is_file
from orchestrator.ids import new_nonce
from orchestrator.jsonish import dumps
from orchestrator.tools import protocol, rooted
from orchestrator.tools.policy import KEPT, as_text, failed, finish, tail
from orchestrator.tools.processes import Ended, NotStarted, Vanished, run
from orchestrator.tools.protocol import Failed, FileOut, Lost
from orchestrator.tools.rooted import FileRefused
from orchestrator.tools.sandbox import NoSandbox, of_store, sandboxed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.tools.protocol import CallContext, Outcome

PASSED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""The variables of ours that a program gets."""

SHELLS: dict[str, list[str]] = {"bash": ["bash", "-eo", "pipefail"], "sh": ["sh", "-e"], "python3": ["python3"]}
"""The shells that go by a name."""

_LINE = 65_536


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Run the program once. See the module for the request."""
    folder = Path(request.get("folder") or context.folder)
    stdin = request.get("stdin")
    argv, home = _command(request, context)
    if not argv:
        return failed(context, "tool_error", "no program to run", no_effect=True)
    try:
        _make(folder)
    except OSError as error:
        return failed(context, "tool_error", f"{folder}: {error.strerror}", no_effect=True)
    try:
        named = boxed(argv, request, folder, context, readable=[home] if home is not None else [])
    except NoSandbox as error:
        return failed(context, "no_sandbox", error.message, no_effect=True)
    try:
        end = await run(
            named,
            env=environment(context, request.get("env") or {}, request.get("env_names") or ()),
            folder=str(folder),
            stdin=None if stdin is None else word(stdin, context).encode("utf-8", "surrogateescape"),
            rlimits=request.get("rlimits"),
            script=None if home is None else (home, request["script"].encode("utf-8", "surrogateescape")),
            seen=shown(context),
        )
    finally:
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)  # where the program killed its guard
    match end:
        case NotStarted():
            return failed(context, "tool_error", f"{argv[0]}: {end}", no_effect=True)
        case Vanished():
            return Lost("tool_error", f"{argv[0]} was killed from outside, and how far it got is not known")
        case Ended():
            return _ended(end, request, folder, context)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def boxed(
    argv: list[str], request: dict[str, Any], folder: Path, context: CallContext, *, readable: Sequence[str] = ()
) -> list[str]:
    """``argv`` in the sandbox that the request asks for. Raises NoSandbox.

    It sees the stored files that the request names, and nothing else of the run's store.
    """
    mode = request.get("sandbox", "none")
    if mode == "none":
        return argv
    copies = context.stored("x").parent
    # As values, and as paths in texts.
    named = re.findall(rf'(?:"\$file":"|{re.escape(str(copies))}/)([0-9a-f]{{64}})', dumps(request))
    files = [str(copies / name) for name in named]
    return sandboxed(argv, folder=folder, mode=mode, readable=[*readable, *files], hidden=of_store(copies))


def environment(context: CallContext, given: dict[str, Any], names: Sequence[str] = ()) -> dict[str, str]:
    """Exactly the variables that a program gets: ours by these ``names`` and those of ``PASSED``, and what is given."""
    env = {name: os.environ[name] for name in (*PASSED, *names) if name in os.environ}
    env["ORCH_IDEMPOTENCY_KEY"] = context.idempotency_key
    for name, value in given.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = word(value, context)
    return env


def word(value: Any, context: CallContext) -> str:
    """A value as a program gets it: secrets revealed, a stored file as the path of its copy."""
    if is_file(value):
        return str(context.stored(value["$file"]))
    return as_text(context.reveal(value))


def _command(request: dict[str, Any], context: CallContext) -> tuple[list[str], str | None]:
    """The argv of the call, and the folder that its script is to stand in, if it stands in a file."""
    launcher = [as_text(item) for item in request.get("launcher") or []]
    if "argv" in request:
        return [*launcher, *(word(item, context) for item in request["argv"])], None
    shell = request.get("shell") or "bash"
    words = SHELLS.get(shell, [shell]) if isinstance(shell, str) else cast("list[str]", shell)
    arguments = [word(item, context) for item in request.get("args") or []]
    if launcher and isinstance(shell, str) and shell in SHELLS:
        name = [] if shell == "python3" else ["script"]
        return [*launcher, *words, "-c", request["script"], *name, *arguments], None
    if not any("{0}" in word for word in words):
        words = [*words, "{0}"]
    home = f"{tempfile.gettempdir()}/orch-{new_nonce()}"
    return [*launcher, *(word.replace("{0}", f"{home}/script") for word in words), *arguments], home


def _ended(end: Ended, request: dict[str, Any], folder: Path, context: CallContext) -> Outcome:
    stdout = _text(end.stdout, end.dropped_stdout)
    stderr = _text(end.stderr, end.dropped_stderr)
    if end.exit not in (request.get("expect") or [0]):
        # Redacted before the cut: half a secret would pass.
        detail = {"exit": end.exit, "stderr": tail(context.redact(stderr)), "stdout": tail(context.redact(stdout))}
        last = stderr.strip().rpartition("\n")[2]
        return failed(context, "tool_error", f"exit {end.exit}" + (f": {last}" if last else ""), detail=detail)
    kept = _files(request.get("files") or {}, folder, context, alone="sandbox" in request)
    if isinstance(kept, Failed):
        return kept
    if not request.get("json"):
        return finish({"exit": end.exit, "stdout": stdout, "stderr": stderr}, context, files=kept)
    try:
        document = json.loads(end.stdout)
    except (ValueError, RecursionError) as error:
        shown = {"stdout": tail(context.redact(stdout)), "stderr": tail(context.redact(stderr))}
        return failed(context, "invalid_output", f"stdout is not one JSON document: {error}", detail=shown)
    return finish(document, context, files=kept)


def _text(body: bytes, dropped: int) -> str:
    text = body.decode("utf-8", "replace")
    return f"{text}\n[{dropped} more bytes were dropped]\n" if dropped else text


def _files(files: dict[str, str], folder: Path, context: CallContext, *, alone: bool) -> dict[str, FileOut] | Failed:
    kept: dict[str, FileOut] = {}
    for name, path in files.items():
        body = _below(folder, path) if alone else _anywhere(folder / path, path)
        if isinstance(body, str):
            return failed(context, "invalid_output", f"file {name}: {body}")
        if context.redact(body) != body:
            return failed(
                context, "invalid_output", f"file {name}: {path} holds the value of a secret, and is not kept"
            )
        base = Path(path).name
        kept[name] = FileOut(base, body, media_type_of(base, body))
    return kept


def _anywhere(file: Path, path: str) -> bytes | str:
    """The bytes of a file, or what is wrong with it."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            return f"{path} is no regular file"
        if size > KEPT:
            return f"{path} has {size} bytes, over {KEPT}"
        return file.read_bytes()
    except OSError as error:
        return f"{path}: {error.strerror}"


def _below(folder: Path, path: str) -> bytes | str:
    """The same of what a sandboxed program left: a link of its making leads nowhere."""
    try:
        *above, name = rooted.split(path) or ("",)
        with rooted.folder(str(folder), above) as at:
            return rooted.read_whole(at, name, path, KEPT)
    except (FileRefused, OSError) as error:
        return error.message if isinstance(error, FileRefused) else f"{path}: {error.strerror}"


def shown(context: CallContext) -> Callable[[bytes], None] | None:
    """What is told of stdout while it comes: whole lines, redacted."""
    if context.emit is protocol.silent:
        return None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    held = ""

    def seen(chunk: bytes) -> None:
        nonlocal held
        whole, newline, held = (held + decoder.decode(chunk)).rpartition("\n")
        if newline:
            context.emit(context.redact(whole + newline))
        elif len(held) > _LINE:
            held = ""  # no line at all: not for the screen

    return seen

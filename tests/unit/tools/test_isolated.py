from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.tools.policy import KEPT
from orchestrator.tools.protocol import Done, Failed, Lost
from orchestrator.tools.python import perform
from orchestrator.tools.shell import PASSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio

SOURCE = """
    import ctypes, os, signal, subprocess, sys, threading
    from orchestrator import ToolContext, ToolError

    def add(a, b=1): return a + b
    async def later(a):
        import asyncio
        await asyncio.sleep(0)
        return [a]
    def coroutine(): return later(5)
    def told(context: ToolContext): return {
        "key": context.idempotency_key, "run": context.run_id, "path": context.path, "attempt": context.attempt,
        "folder": context.folder, "deadline": context.deadline, "log": context.log.name, "here": os.getcwd()}
    def variables(): return dict(os.environ)
    def process(): return os.getpid()
    def loud():
        print("on stdout")
        print('{"value": "not this"}', file=sys.stderr)
        os.write(1, b"by descriptor 1\\n")
        os.write(2, b'{"value": "nor this"}\\n')
        subprocess.run(["echo", "by a child"], check=True)
        return "said"
    def reads(): return sys.stdin.read()
    def closes():
        sys.stdout.close()
        sys.stderr.close()
        return 1
    def broken(text): raise ValueError(f"bad {text}")
    def on_purpose(): raise ToolError("slow down", code="rate_limit", status=429, detail={"a": 1}, no_effect=True)
    def leaves(): raise SystemExit(3)
    def interrupts(): raise KeyboardInterrupt
    def segfault(): ctypes.string_at(0)
    def quits(code):
        print("before the end")
        sys.stdout.flush()
        os._exit(code)
    def killed(): os.kill(os.getpid(), signal.SIGKILL)
    def no_json(): return object()
    def odd(): return ["a\\0b", "\\ud800", float("nan")]
    def huge(size): return "x" * size
    def leaves_a_thread():
        threading.Thread(target=threading.Event().wait).start()
        return "gone"
    def family(file):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with open(file, "w") as f: f.write(f"{os.getpid()} {child.pid}")
        threading.Event().wait()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orch_sample.py").write_text(textwrap.dedent(SOURCE))
    return tmp_path


@pytest.fixture
def call(folder: Path, contexts: Any) -> Callable[..., Any]:
    async def call(ref: str, /, *, context: Any = None, **args: Any) -> Outcome:
        ref = ref if ":" in ref else f"orch_sample:{ref}"
        request = {"ref": ref, "args": args, "search": [str(folder)], "isolate": "process"}
        return await perform(request, context or contexts())

    return call


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def lost(outcome: Outcome) -> Lost:
    assert isinstance(outcome, Lost), outcome
    return outcome


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def test_plain_and_async_functions(call: Any) -> None:
    assert done(await call("add", a=1, b=2)) == 3
    assert done(await call("later", a=1)) == [1]
    assert done(await call("coroutine")) == [5]
    assert done(await call("process")) != os.getpid()


async def test_functions_of_the_environment(call: Any) -> None:
    assert done(await call("os.path:basename", p="a/b")) == "b"
    assert done(await call("orchestrator.jsonish:dumps", value=[1])) == "[1]"


async def test_modules_are_found_where_this_process_finds_them(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/orch_elsewhere.py").write_text("def f(): return 'found'\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "elsewhere")])
    assert done(await call("orch_elsewhere:f")) == "found"


async def test_the_context(call: Any, contexts: Any) -> None:
    assert done(await call("told", context=contexts(key="the-key", deadline=12.5))) == {
        "key": "the-key",
        "run": "run-1",
        "path": "step",
        "attempt": 1,
        "folder": str(contexts.folder),
        "here": str(contexts.folder),
        "deadline": 12.5,
        "log": "orchestrator.run",
    }


async def test_the_environment_is_the_list_exactly(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sings")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = done(await call("variables"))
    expected = {name: os.environ[name] for name in PASSED if name in os.environ}
    assert found == expected | {"ORCH_IDEMPOTENCY_KEY": "key-1"}


async def test_what_it_prints_is_shown_and_never_the_result(call: Any, contexts: Any) -> None:
    shown: list[str] = []
    contexts.secrets["KEY"] = "by descriptor"
    assert done(await call("loud", context=contexts(emit=shown.append))) == "said"
    text = "".join(shown)
    assert all(piece in text for piece in ("on stdout", "not this", "***KEY*** 1", "nor this", "by a child"))


async def test_stdin_is_empty_and_streams_may_be_closed(call: Any) -> None:
    assert done(await call("reads")) == ""
    assert done(await call("closes")) == 1


async def test_exceptions_are_failures_with_the_lines_of_the_user(call: Any, contexts: Any, folder: Path) -> None:
    contexts.secrets["KEY"] = "hunter2-key"
    end = bad(await call("broken", context=contexts(), text="hunter2-key"))
    assert (end.code, end.message, end.no_effect) == ("tool_error", "ValueError: bad ***KEY***", False)
    assert end.detail["traceback"][-1].startswith(f"{folder}/orch_sample.py:")
    end = bad(await call("on_purpose"))
    assert (end.code, end.status, end.message, end.detail) == ("rate_limit", 429, "slow down", {"a": 1})
    assert end.no_effect
    assert bad(await call("leaves")).message == "SystemExit: 3"
    assert bad(await call("interrupts")).message == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("ref", "args", "why"),
    [
        ("none_such_module:f", {}, "no module"),
        ("orch_sample:none", {}, "no function"),
        ("orch_sample:add", {"z": 1}, "argument"),
        ("orch_fails:f", {}, "while orch_fails:f was imported: ModuleNotFoundError"),
    ],
)
async def test_what_fails_before_the_call_has_no_effect(
    call: Any, folder: Path, ref: str, args: dict[str, Any], why: str
) -> None:
    (folder / "orch_fails.py").write_text("import none_such_thing\n")
    end = bad(await call(ref, **args))
    assert end.no_effect
    assert why in end.message


@pytest.mark.parametrize(
    ("name", "args", "how"),
    [
        ("segfault", {}, "exit 139 (SIGSEGV)"),
        ("quits", {"code": 0}, "exit 0 and no result: before the end"),
        ("quits", {"code": 7}, "exit 7 and no result: before the end"),
        ("killed", {}, "exit 137 (SIGKILL)"),
    ],
)
async def test_a_crash_is_the_workers_alone_and_its_effect_is_not_known(
    call: Any, name: str, args: dict[str, Any], how: str
) -> None:
    end = lost(await call(name, **args))
    assert end.code == "tool_error"
    assert how in end.message


async def test_a_crash_while_importing_has_no_effect(call: Any, folder: Path) -> None:
    (folder / "orch_dies.py").write_text("import os\nos._exit(9)\n")
    end = bad(await call("orch_dies:f"))
    assert end.no_effect
    assert "exit 9" in end.message


async def test_results(call: Any, contexts: Any) -> None:
    assert bad(await call("no_json")).code == "invalid_output"
    assert bad(await call("odd")).code == "invalid_output"
    end = await call("huge", size=100_000)
    assert len(done(end)) == 65_536
    assert len(end.overflow) == 100_000
    assert bad(await call("huge", size=KEPT + 1)).code == "too_large"


async def test_threads_that_are_left_do_not_keep_it(call: Any) -> None:
    assert done(await call("leaves_a_thread")) == "gone"


async def test_a_cancelled_call_leaves_no_process(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    pids: list[int] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: call("family", file=str(file)))
            while not (file.exists() and " " in file.read_text()):  # noqa: ASYNC110  another process sets no event
                await anyio.sleep(0.01)
            pids = [int(word) for word in file.read_text().split()]
            assert not any(map(gone, pids))
            group.cancel_scope.cancel()
    assert all(map(gone, pids))


async def test_a_folder_that_cannot_be_made(call: Any, contexts: Any) -> None:
    (contexts.folder / "file").touch()
    contexts.folder = contexts.folder / "file" / "below"
    end = bad(await call("add", a=1))
    assert end.no_effect
    assert "Not a directory" in end.message

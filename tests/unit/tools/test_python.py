from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import orchestrator
from orchestrator.tools import PERFORMERS, functions, load_performer
from orchestrator.tools.calling import arguments
from orchestrator.tools.protocol import Done, Failed
from orchestrator.tools.python import perform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio

# What a function may need from outside to be tested, by name.
GATES: dict[str, threading.Event] = {}

SOURCE = """
    import asyncio, threading, time
    from orchestrator import ToolContext, ToolError

    def add(a, b=1, *, c=0): return a + b + c
    async def later(a): await asyncio.sleep(0); return [a]
    def told(context: ToolContext): return {
        "key": context.idempotency_key, "run": context.run_id, "path": context.path, "attempt": context.attempt,
        "folder": context.folder, "deadline": context.deadline, "log": context.log.name}
    async def asked(context, x): return [context.path, x]
    def where(): return threading.current_thread() is threading.main_thread()
    def anything(**given): return given
    def broken(text):
        value = text * 2
        raise ValueError(f"bad {value}")
    def on_purpose(): raise ToolError("slow down", code="rate_limit", status=429, detail={"a": 1}, no_effect=True)
    async def on_purpose_later(): raise ToolError("no", detail=object())
    def leaves(): raise SystemExit(3)
    def cancels(): raise asyncio.CancelledError()
    def unprintable():
        class Odd(Exception):
            def __str__(self): raise RuntimeError
        raise Odd
    def group(): raise ExceptionGroup("two", [ValueError("v"), KeyError("k")])
    def no_json(): return object()
    def coroutine(): return later(5)
    def big(): return "x" * 100_000
    def nul(): return "a\\0b"
    async def spoils(a, b):
        a["l"].append(4), a["l"][0].update(x=2), a["o"].clear(), b.clear()
        return [a, b]
    class Maker:
        @staticmethod
        def make(): return "made"
    class Callee:
        async def __call__(self): return "called"
    callee = Callee()
    constant = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orch_sample.py").write_text(textwrap.dedent(SOURCE))
    return tmp_path


@pytest.fixture
def call(folder: Path, contexts: Any) -> Callable[..., Any]:
    async def call(ref: str, /, *, context: Any = None, **args: Any) -> Outcome:
        ref = ref if ":" in ref or " " in ref else f"orch_sample:{ref}"
        return await perform({"ref": ref, "args": args, "search": [str(folder)]}, context or contexts())

    return call


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_plain_and_async_functions(call: Any) -> None:
    assert done(await call("add", a=1)) == 2
    assert done(await call("add", a=1, b=2, c=3)) == 6
    assert done(await call("later", a=1)) == [1]
    assert done(await call("coroutine")) == [5]
    assert done(await call("Maker.make")) == "made"
    assert done(await call("callee")) == "called"
    assert done(await call("anything", context=None, a=1)) == {"a": 1}


async def test_what_a_function_is_given_is_its_own(call: Any) -> None:
    a, b = {"l": [{"x": 1}, [2], 3], "o": {"y": 1}}, [[1], {}]
    assert done(await call("spoils", a=a, b=b)) == [{"l": [{"x": 2}, [2], 3, 4], "o": {}}, []]
    assert (a, b) == ({"l": [{"x": 1}, [2], 3], "o": {"y": 1}}, [[1], {}])


async def test_a_plain_function_does_not_hold_the_loop(call: Any) -> None:
    assert done(await call("where")) is False


async def test_the_context(call: Any, contexts: Any) -> None:
    context = contexts(key="the-key", deadline=12.5)
    assert done(await call("told", context=context)) == {
        "key": "the-key",
        "run": "run-1",
        "path": "step",
        "attempt": 1,
        "folder": str(contexts.folder),
        "deadline": 12.5,
        "log": "tests.tools",
    }
    assert done(await call("asked", x=1)) == ["step", 1]


@pytest.mark.parametrize("args", [{}, {"a": 1, "z": 2}, {"a": 1, "b": 2, "c": 3, "d": 4}])
async def test_arguments_that_do_not_fit_have_no_effect(call: Any, args: dict[str, int]) -> None:
    end = bad(await call("add", **args))
    assert end.no_effect
    assert "argument" in end.message


async def test_an_exception_is_a_failure_with_the_lines_of_the_user(call: Any, folder: Path) -> None:
    end = bad(await call("broken", text="x"))
    assert (end.code, end.message, end.no_effect) == ("tool_error", "ValueError: bad xx", False)
    assert end.detail == {"traceback": [f'{folder}/orch_sample.py:15 in broken: raise ValueError(f"bad {{value}}")']}


async def test_secrets_are_redacted_everywhere(call: Any, contexts: Any) -> None:
    contexts.secrets["KEY"] = "hunter2-key"
    end = bad(await call("broken", context=contexts(), text="hunter2-key"))
    assert end.message == "ValueError: bad ***KEY******KEY***"
    assert done(await call("anything", context=contexts(), a=["hunter2-key"])) == {"a": ["***KEY***"]}


async def test_errors_on_purpose(call: Any) -> None:
    end = bad(await call("on_purpose"))
    assert (end.code, end.status, end.message, end.detail) == ("rate_limit", 429, "slow down", {"a": 1})
    assert end.no_effect
    end = bad(await call("on_purpose_later"))
    assert (end.code, end.message, end.no_effect) == ("tool_error", "no", False)
    assert "not JSON" in end.detail["problem"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaves", "SystemExit: 3"),
        ("cancels", "RuntimeError: CancelledError raised"),
        ("unprintable", "Odd"),
        ("group", "ExceptionGroup: two (2 sub-exceptions) ValueError: v; KeyError: 'k'"),
    ],
)
async def test_odd_exceptions_are_failures(call: Any, name: str, message: str) -> None:
    assert bad(await call(name)).message == message


async def test_results(call: Any) -> None:
    assert bad(await call("no_json")).code == "invalid_output"
    assert done(await call("nul")) == "a\ufffdb"
    end = await call("big")
    assert len(done(end)) == 65_536
    assert len(end.overflow) == 100_000


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("none_such_module:f", "no module"),
        ("none_such.module:f", "no module"),
        ("orch_sample:none", "no function"),
        ("orch_sample:constant", "no function"),
        ("os:none_such", "no function"),
        ("os.path.deeper:f", "no module"),
        ("orch sample:f", "pkg.mod:function"),
        ("../x:f", "pkg.mod:function"),
        (":f", "pkg.mod:function"),
        ("a:", "pkg.mod:function"),
    ],
)
async def test_references_that_name_nothing(call: Any, ref: str, why: str) -> None:
    end = bad(await call(ref))
    assert end.no_effect
    assert why in end.message


async def test_the_environment_comes_first(call: Any, folder: Path) -> None:
    (folder / "posixpath.py").write_text("def join(a): return 'ours'\ndef only_here(): return 'ours'\n")
    assert done(await call("posixpath:join", a="std")) == "std"
    assert done(await call("posixpath:only_here")) == "ours"


async def test_a_module_that_fails_to_import(call: Any, folder: Path) -> None:
    (folder / "fails.py").write_text("import none_such_thing\ndef f(): pass\n")
    (folder / "bad_syntax.py").write_text("def f(:\n")
    (folder / "exits.py").write_text("raise SystemExit\n")
    for name, kind in (("fails", "ModuleNotFoundError"), ("bad_syntax", "SyntaxError"), ("exits", "SystemExit")):
        end = bad(await call(f"{name}:f"))
        assert kind in end.message
        assert end.no_effect


async def test_two_folders_may_have_modules_of_one_name(tmp_path: Path, context: Any) -> None:
    path, modules = list(sys.path), set(sys.modules)
    for side in ("left", "right"):
        folder = tmp_path / side
        (folder / "brief/inner").mkdir(parents=True)
        (folder / "brief/__init__.py").touch()
        (folder / "brief/near.py").write_text(f"SIDE = {side!r}\n")
        (folder / "brief/inner/work.py").write_text(
            "from ..near import SIDE\nimport orch_aside\ndef f(): return [SIDE, orch_aside.SIDE]\n"
        )
        (folder / "orch_aside.py").write_text(f"SIDE = {side!r}\n")
    for side in ("left", "right", "left"):
        request = {"ref": "brief.inner.work:f", "search": [str(tmp_path / side)]}
        assert done(await perform(request, context)) == [side, side]
    assert sys.path == path
    assert not {"brief", "orch_aside", "brief.inner.work"} & (set(sys.modules) - modules)


async def test_a_changed_file_is_read_again(folder: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "changing.py").write_text("def f(): return 1\n")
    monkeypatch.setattr(functions, "STILL", 1000.0)
    assert done(await call("changing:f")) == 1
    (folder / "changing.py").write_text("def f(): return 'two'\n")
    assert done(await call("changing:f")) == 1  # it was looked at just now
    monkeypatch.setattr(functions, "STILL", 0.0)
    assert done(await call("changing:f")) == "two"


class Odd:
    """Takes whatever it is called with."""

    async def method(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("function", "args", "problem"),
    [
        (lambda x, y=1: 0, {"x": 1}, None), (lambda x, *, y: 0, {"x": 1, "y": 2}, None), (lambda: 0, {}, None),
        (lambda x: 0, {}, "missing a required argument: 'x'"), (lambda x: 0, {"x": 1, "z": 2}, "got an unexpected keyword argument 'z'"),
        (lambda **more: 0, {"z": 2}, None), (lambda x, /: 0, {"x": 1}, "'x' parameter is positional only, but was passed as a keyword"),
        (lambda *x: 0, {}, None), (lambda *x: 0, {"x": 1}, "got an unexpected keyword argument 'x'"), (Odd().method, {"x": 1}, None),
        (Odd().method, {}, "missing a required argument: 'x'"), (dict, {"a": 1}, None),
    ],
)  # fmt: skip
def test_arguments_are_those_that_a_call_would_take(function: Any, args: dict[str, Any], problem: str | None) -> None:
    found = arguments(function, dict(args), context=None)  # pyright: ignore[reportArgumentType]
    assert found == args if problem is None else isinstance(found, str) and problem in found


def test_a_function_that_wants_its_context_gets_it() -> None:
    told: Any = object()
    assert arguments(lambda x, context: 0, {"x": 1}, told) == {"x": 1, "context": told}
    assert arguments(lambda x, context=None: 0, {"x": 1, "context": 2}, told) == {"x": 1, "context": 2}


async def test_a_cancelled_function_is_left_behind(folder: Path, call: Any) -> None:
    (folder / "gated.py").write_text("import sys\ndef f(name): sys.modules[name].GATES['g'].wait(10)\n")
    GATES["g"] = threading.Event()
    sys.modules.setdefault("orch_gates", sys.modules[__name__])
    before = threading.active_count()
    start = time.monotonic()
    with anyio.move_on_after(0.1) as scope:
        await call("gated:f", name="orch_gates")
    assert scope.cancelled_caught
    assert time.monotonic() - start < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("orch-"))
    GATES["g"].set()
    with anyio.fail_after(5):
        while threading.active_count() > before:  # noqa: ASYNC110  a thread sets no event at its very end
            await anyio.sleep(0.005)


def test_a_function_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    script = """
        import anyio
        from orchestrator.tools.python import in_thread
        async def main():
            with anyio.move_on_after(0.05):
                await in_thread(__import__("time").sleep, 600)
            print("left")
        anyio.run(main)
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=20, check=True
    )
    assert (shown.stdout, shown.stderr) == ("left\n", "")


async def test_many_at_once(call: Any) -> None:
    found: list[Any] = []

    async def one(number: int) -> None:
        found.append(done(await call("add", a=number)))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(one, number)
    assert sorted(found) == list(range(1, 101))


def test_what_users_import_is_loaded_when_asked_for() -> None:
    assert orchestrator.ToolContext.__name__ == "ToolContext"
    assert issubclass(orchestrator.ToolError, Exception)
    with pytest.raises(AttributeError, match="none_such"):
        _ = orchestrator.none_such
    script = "import sys, orchestrator; assert 'orchestrator.tools' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_performers_are_loaded_by_kind() -> None:
    for kind in PERFORMERS:
        assert callable(load_performer(kind))
    with pytest.raises(KeyError):
        load_performer("none")
    script = (
        "import sys; import orchestrator.tools as t; [t.load_performer(k) for k in t.PERFORMERS]; print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx2", "httpcore2", "re2", "pydantic", "jsonschema_rs"} & set(shown)

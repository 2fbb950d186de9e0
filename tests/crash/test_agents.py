"""Agents with forty tool calls, killed in the 25th: what has ended is never called again, neither model nor tool."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, compiled, records_of, resolve, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.crash.lab import Case

HERE = Path(__file__).parent
CALLS = 40
IN_CALL = 25
# A model's reply and a tool's result are an effect and a commit each; the first commit is the start of the run.
TOOL_EFFECT = 2 * IN_CALL
TOOL_COMMIT = 2 * IN_CALL + 1
EFFECTS = pytest.mark.parametrize("effect", ["read", "idempotent", "write"])

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True)
class Agents:
    """The lab, and of each spec what it gives where nobody kills it."""

    lab: Lab
    outputs: dict[str, dict[str, Any]]
    graphs: dict[str, Any]

    def case(self, shape: str) -> Case:
        return self.lab.case(graph=self.graphs[shape])

    def run(self, case: Case, effect: str, **how: Any) -> int:
        return self.lab.run(case, inputs={"tool": f"call_{effect}"}, **how)


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("agents"), spec=HERE / "agents_sequence.yaml", lease=15.0, shared=64)
    try:
        graphs = {"sequence": lab.graph, "parallel": compiled(HERE / "agents_parallel.yaml")}
        found = Agents(lab, {}, graphs)
        for shape in graphs:
            case = found.case(shape)
            assert found.run(case, "read") == ENDS["done"], errors_of(case)
            found.outputs[shape] = records_of(case)[-1].body["outputs"]
        yield found
    finally:
        lab.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the ledger says of a run: how often each path began and ended, with which keys, and the model calls."""

    begun: Counter[str]
    ended: Counter[str]
    keys: dict[str, set[str]]
    models: int


def seen(lab: Lab, case: Case) -> Seen:
    lines = lab.ledger.lines(case.run_id)
    tools = [line for line in lines if line["effect"] == "probe"]
    keys: dict[str, set[str]] = defaultdict(set)
    for line in tools:
        keys[line["path"]].add(line["key"])
    return Seen(
        begun=Counter(line["path"] for line in tools if line["phase"] == "begin"),
        ended=Counter(line["path"] for line in tools if line["phase"] == "end"),
        keys=keys,
        models=sum(line["effect"] == "model" and line["phase"] == "begin" for line in lines),
    )


def done_calls(case: Case) -> set[str]:
    """The tool calls whose results are committed, read beside a process that may be at work."""
    with closing(sqlite3.connect(case.folder / "runs.db")) as db:
        return {path for (path,) in db.execute("SELECT path FROM journal WHERE kind = 'done' AND path LIKE '%/tool%'")}


def open_intents(case: Case) -> set[str]:
    """The paths that were under way when the run was killed, as its journal has them."""
    found: set[str] = set()
    for record in records_of(case):
        if record.kind == "started":
            found.add(record.path)
        elif record.kind in ("done", "failed", "cancelled", "waiting"):
            found.discard(record.path)
    return found


def path_of(shape: str, call: int) -> str:
    return f"work/turn{call}/tool0" if shape == "sequence" else f"work/turn1/tool{call - 1}"


def until(what: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Look until it is so. What is waited for here stays so: the order of the processes does not matter."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.002)


def hold(case: Case, calls: Iterable[int]) -> None:
    for call in calls:
        os.mkfifo(case.folder / f"hold{call}")


def let_go(case: Case, call: int) -> None:
    (case.folder / f"hold{call}").write_bytes(b"")


def hold_nothing(case: Case) -> None:
    for pipe in case.folder.glob("hold*"):
        pipe.unlink()


def kill(lab: Lab, case: Case, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert lab.wait(pid) == -signal.SIGKILL
    case.snapshots.append(rows_of(case))


def killed_while_held(agents: Agents, case: Case, shape: str, effect: str, held: list[int]) -> int:
    """Start a run whose ``held`` calls stay under way, and wait until all that can end before them has been
    committed; its pid."""
    hold(case, held)
    pid = agents.lab.fork(case, inputs={"tool": f"call_{effect}"})
    before = held[0] - 1 if shape == "sequence" else CALLS - len(held)
    paths = {path_of(shape, call) for call in held}
    until(lambda: paths <= set(seen(agents.lab, case).begun))
    until(lambda: len(done_calls(case)) == before)
    return pid


def waiting(case: Case) -> set[str]:
    return {record.path for record in records_of(case) if record.kind == "waiting"}


def errors_of(case: Case) -> str:
    return "\n".join(path.read_text() for path in case.folder.glob("error-*"))


def resumed(agents: Agents, case: Case, effect: str, doubt: set[str], answer: Callable[[str], dict[str, Any]]) -> None:
    """Resume to the end. Where the effect is a write, the first resume only asks, and calls nothing at all."""
    hold_nothing(case)
    before = seen(agents.lab, case)
    if effect == "write" and doubt:
        assert agents.run(case, effect, resume=True) == ENDS["paused"], errors_of(case)
        assert waiting(case) == doubt
        assert seen(agents.lab, case) == before
        resolve(case, answer)
    assert agents.run(case, effect, resume=True) == ENDS["done"], errors_of(case)


def check(agents: Agents, case: Case, shape: str, effect: str, *, again: set[str], models: int = 0) -> None:
    """The whole of what is promised, once the run has ended: each call began once, those ``again`` twice, under one
    key; ``models`` of the model calls were repeated."""
    found = seen(agents.lab, case)
    paths = {path_of(shape, call) for call in range(1, CALLS + 1)}
    assert found.begun == {path: 2 if path in again else 1 for path in paths}
    assert found.models == (CALLS + 1 if shape == "sequence" else 2) + models
    assert all(len(keys) == 1 for keys in found.keys.values())
    keys = {key for keys in found.keys.values() for key in keys}
    assert keys == {""} if effect == "read" else len(keys) == CALLS and "" not in keys
    assert broken(agents.lab, case, outputs=agents.outputs[shape]) == []


RETRY = {"retry": True}


@EFFECTS
def test_a_call_in_a_sequence_that_was_under_way_is_repeated_as_its_effect_allows(agents, effect):
    case = agents.case("sequence")
    pid = killed_while_held(agents, case, "sequence", effect, [IN_CALL])
    kill(agents.lab, case, pid)
    path = path_of("sequence", IN_CALL)
    assert open_intents(case) == {path}
    assert seen(agents.lab, case).models == IN_CALL
    resumed(agents, case, effect, {path}, lambda path: RETRY)
    check(agents, case, "sequence", effect, again={path})


@EFFECTS
def test_a_call_in_a_sequence_that_had_ended_unrecorded_is_repeated_as_its_effect_allows(agents, effect):
    case = agents.case("sequence")
    assert agents.run(case, effect, at=("after_effect", TOOL_EFFECT)) == -signal.SIGKILL
    path = path_of("sequence", IN_CALL)
    assert open_intents(case) == {path}
    assert seen(agents.lab, case).ended[path] == 1
    resumed(agents, case, effect, {path}, lambda path: {"result": result_of(agents, path)})
    check(agents, case, "sequence", effect, again=set() if effect == "write" else {path})


def result_of(agents: Agents, path: str) -> int:
    """What the call at ``path`` of the sequence returns."""
    value = 0
    for call in range(1, CALLS + 1):
        value = (value * 31 + call * call) % 1_000_003
        if path == path_of("sequence", call):
            return value
    raise KeyError(path)


@pytest.mark.parametrize(
    ("effect", "point"),
    [
        ("read", "after_commit"),
        ("idempotent", "after_commit"),
        ("write", "after_commit"),
        ("write", "before_apply"),
        ("write", "after_apply"),
    ],
)
def test_nothing_in_a_sequence_is_repeated_once_the_result_is_committed(agents, effect, point):
    case = agents.case("sequence")
    assert agents.run(case, effect, at=(point, TOOL_COMMIT)) == -signal.SIGKILL
    last = records_of(case)[-2:]
    path = path_of("sequence", IN_CALL)
    assert [(record.kind, record.path) for record in last] == [("done", path), ("started", f"work/turn{IN_CALL + 1}")]
    resumed(agents, case, effect, set(), lambda path: RETRY)
    check(agents, case, "sequence", effect, again=set())


def test_a_model_call_whose_reply_was_not_recorded_is_made_again_and_no_tool_call_is(agents):
    case = agents.case("sequence")
    assert agents.run(case, "write", at=("after_effect", TOOL_EFFECT + 1)) == -signal.SIGKILL
    assert open_intents(case) == {f"work/turn{IN_CALL + 1}"}
    resumed(agents, case, "write", set(), lambda path: RETRY)
    check(agents, case, "sequence", "write", again=set(), models=1)


@EFFECTS
@pytest.mark.parametrize("last", [IN_CALL, CALLS], ids=["one under way", "sixteen under way"])
def test_of_parallel_calls_those_under_way_are_repeated_as_their_effect_allows(agents, effect, last):
    case = agents.case("parallel")
    held = list(range(IN_CALL, last + 1))
    pid = killed_while_held(agents, case, "parallel", effect, held)
    kill(agents.lab, case, pid)
    doubt = {path_of("parallel", call) for call in held}
    assert open_intents(case) == doubt
    resumed(agents, case, effect, doubt, lambda path: RETRY)
    check(agents, case, "parallel", effect, again=doubt)


@EFFECTS
def test_a_parallel_call_is_not_repeated_once_its_result_is_committed(agents, effect):
    case = agents.case("parallel")
    pid = killed_while_held(agents, case, "parallel", effect, list(range(IN_CALL, CALLS + 1)))
    let_go(case, IN_CALL)
    path = path_of("parallel", IN_CALL)
    until(lambda: path in done_calls(case))
    kill(agents.lab, case, pid)
    doubt = {path_of("parallel", call) for call in range(IN_CALL + 1, CALLS + 1)}
    assert open_intents(case) == doubt
    resumed(agents, case, effect, doubt, lambda path: RETRY)
    check(agents, case, "parallel", effect, again=doubt)

"""Budgets through the command line: what stops, with which exit, and how a run goes on with more."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.test_specs import SPECS, orch

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

STORE = ("--store", "sqlite:///runs.db")
MODEL = """
models:
  default:
    provider: scripted
    max_tokens: 100
    price: {input: 5, output: 5}
    replies: [{text: hello, usage: {input: 1000, output: 100}}]
"""
MANY = f"""version: 1
name: many
budget: {{usd: 0.05, time: 1h, on_exceed: THEN}}
{MODEL}
steps:
  m:
    map: range(20)
    concurrency: 20
    do: {{agent: {{}}, prompt: "x ${{{{ item }}}}", budget: {{tokens: 4000}}}}
outputs: {{n: "${{{{ size(steps.m.output) }}}}"}}
"""


def run(folder: Path, *args: str, code: int = 0) -> Any:
    done = orch(folder, *args, *STORE)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def many(folder: Path, then: str) -> str:
    (folder / "many.yaml").write_text(MANY.replace("THEN", then))
    return "many.yaml"


def started(folder: Path) -> Counter[str]:
    with closing(sqlite3.connect(folder / "runs.db")) as db:
        return Counter(path for (path,) in db.execute("SELECT path FROM journal WHERE kind = 'started'"))


def test_a_paused_run_says_what_to_type_and_goes_on_with_more(tmp_path: Path) -> None:
    done = orch(tmp_path, "run", many(tmp_path, "pause"), "--id", "one", *STORE)
    assert done.returncode == 6
    said = json.loads(done.stdout)
    assert (said["status"], said["reason"]) == ("paused", "limit")
    assert said["waits"][0]["dimension"] == "usd"
    assert "next: orch budget one --add usd=0.02, then orch resume one" in done.stderr
    assert "waits: the run's budget has $0.0115 left, and the next call may take $0.013425" in done.stderr
    before = started(tmp_path)
    accounts = {each["account"]: each for each in run(tmp_path, "budget", "one")["accounts"]}
    assert accounts[""]["usd"] == {"limit": 0.05, "spent": 0.0385, "open": 0.0, "left": 0.0115}
    assert accounts[""]["on_exceed"] == "pause"
    assert accounts["m[7]"]["tokens"]["left"] == 4000
    # With nothing added it stands where it stood.
    assert run(tmp_path, "resume", "one", code=6)["reason"] == "limit"
    assert started(tmp_path) == before
    added = run(tmp_path, "budget", "one", "--add", "usd=0.2", "--add", "time=1h")
    assert (added["status"], added["accounts"][0]["usd"]["limit"], added["accounts"][0]["time"]["limit"]) == (
        "paused", 0.25, 7200,
    )  # fmt: skip
    assert run(tmp_path, "resume", "one") == {"n": 20}
    assert started(tmp_path) == {f"m[{item}]/turn1": 1 for item in range(20)}
    assert run(tmp_path, "verify", "one")["ok"]
    assert run(tmp_path, "budget", "one")["accounts"][0]["usd"]["spent"] == 0.11


def test_a_limited_run_goes_on_with_more(tmp_path: Path) -> None:
    said = run(tmp_path, "run", many(tmp_path, "fail"), "--id", "one", code=6)
    assert said["error"]["code"] == "limited"
    assert said["error"]["detail"]["dimension"] == "usd"
    listed = run(tmp_path, "list")["runs"][0]
    assert (listed["status"], listed["error"]["code"]) == ("limited", "limited")
    shown = orch(tmp_path, "show", "one", *STORE, "--json")
    assert json.loads(shown.stdout)["run"]["status"] == "limited"
    assert run(tmp_path, "resume", "one", code=6)["error"]["code"] == "limited"
    assert run(tmp_path, "budget", "one", "--add", "usd=1")["status"] == "paused"
    assert run(tmp_path, "resume", "one") == {"n": 20}
    assert started(tmp_path) == {f"m[{item}]/turn1": 1 for item in range(20)}
    assert run(tmp_path, "verify", "one")["ok"]


def test_an_agent_finishes_with_what_it_has(tmp_path: Path) -> None:
    assert run(tmp_path, "run", str(SPECS / "budget_finish.yaml"), "--id", "one") == {
        "answer": "What I have after 10 looks.", "strict": "limited",
    }  # fmt: skip
    accounts = {each["account"]: each for each in run(tmp_path, "budget", "one")["accounts"]}
    assert accounts["search"]["usd"]["spent"] <= accounts["search"]["usd"]["limit"]
    assert accounts["strict"]["model_calls"] == {"limit": 2, "spent": 2, "open": 0, "left": 0}
    assert run(tmp_path, "verify", "one")["ok"]


@pytest.mark.parametrize(("flags", "dimension"), [(("--max-usd", "0.02"), "usd"), (("--max-tokens", "5000"), "tokens")])
def test_bounds_of_the_command_line_hold_beside_those_of_the_file(
    tmp_path: Path, flags: tuple[str, str], dimension: str
) -> None:
    file = many(tmp_path, "pause")
    assert run(tmp_path, "run", file, "--id", "one", *flags, code=6)["waits"][0]["dimension"] == dimension
    assert len(started(tmp_path)) < 7
    assert run(tmp_path, "run", file, "--id", "one", *flags, code=6)["reason"] == "limit"
    other = orch(tmp_path, "run", file, "--id", "one", flags[0], "70000", *STORE)
    assert (other.returncode, "E007" in other.stderr) == (2, True)
    assert run(tmp_path, "run", file, "--id", "two", flags[0], "900000", code=6)["waits"][0]["left"] == 11500


def said_by(done: CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--add", "dollars=1"], 2, "expected one of usd, tokens"),
        (["--add", "usd"], 2, "no amount of usd"),
        (["--add", "usd=-1"], 2, "more than none"),
        (["--add", "usd=NaN"], 2, "no amount of usd"),
        (["--add", "time=5"], 2, "no amount of time"),
        (["--add", "usd=1", "--add", "usd=1"], 2, "given twice"),
        (["--add", "tokens=1"], 3, "has no bound of `tokens`"),
        (["--add", "tokens=1", "--step", "n"], 3, "step 'n' has no budget"),
        (["--step", "m[10"], 3, "did you mean `m[10]`"),
        (["--step", "m[10]", "--add", "tokens=10"], 0, ""),
    ],
)
def test_mistakes_about_budgets(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    run(tmp_path, "run", many(tmp_path, "pause"), "--id", "one", code=6)
    found, text = said_by(orch(tmp_path, "budget", "one", *args, *STORE))
    assert found == code, text
    assert said in text


def test_a_run_without_budgets_has_none_to_show_and_none_to_add_to(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("version: 1\nsteps: {a: {run: 'true'}}")
    run(tmp_path, "run", "plain.yaml", "--id", "one")
    assert run(tmp_path, "budget", "one")["accounts"] == []
    assert orch(tmp_path, "budget", "one", "--add", "usd=1", *STORE).returncode == 3
    (tmp_path / "done.yaml").write_text("version: 1\nbudget: {tool_calls: 5}\nsteps: {a: {run: 'true'}}")
    run(tmp_path, "run", "done.yaml", "--id", "two")
    over = orch(tmp_path, "budget", "two", "--add", "tool_calls=1", *STORE)
    assert over.returncode != 0
    assert "has ended" in over.stderr


def test_a_bound_in_dollars_holds_no_model_without_a_price(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nmodels: {default: {provider: anthropic, model: mine}}\nsteps: {a: {agent: {}, prompt: x}}"
    )
    done = orch(tmp_path, "run", "mine.yaml", "--max-usd", "1", *STORE, ANTHROPIC_API_KEY="k")
    assert (done.returncode, "E319" in done.stderr) == (2, True)
    assert orch(tmp_path, "run", "mine.yaml", "--max-usd", "none", *STORE).returncode == 2


def test_time_and_deadlines_end_what_runs(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(
        "version: 1\nbudget: {deadline: BOUND}\n"
        "steps: {a: {run: 'sleep 20', effect: read, budget: {time: 20s}}}\nfinally: {z: {run: 'echo over'}}\n"
    )
    text = (tmp_path / "slow.yaml").read_text()
    for name, bound in (
        ("deadline", text.replace("BOUND", "300ms").replace("20s", "300ms")),
        ("time", text.replace("BOUND", "1h").replace("20s", "300ms")),
    ):
        (tmp_path / "slow.yaml").write_text(bound)
        said = run(tmp_path, "run", "slow.yaml", "--id", name, code=6)
        assert said["error"]["code"] == "limited"
        assert said["error"]["detail"]["dimension"] in ("time", "deadline")
        assert run(tmp_path, "verify", name)["ok"]


DELEGATES = """version: 1
budget: {usd: 1}
models:
  default:
    provider: scripted
    max_tokens: 100
    price: {input: 5, output: 5}
    replies:
      - when: agent == 'boss' && turn == 1
        calls: [{tool: critic, with: {prompt: a}}, {tool: critic, with: {prompt: b}}]
        usage: {input: 1000, output: 100}
      - when: agent == 'boss'
        text: "got ${{ results }}"
        usage: {input: 1000, output: 100}
      - when: prompt == 'a'
        calls: [{tool: look}]
        usage: {input: 1000, output: 100}
      - {text: fine, usage: {input: 1000, output: 100}}
tools:
  look: {shell: {argv: [echo, hi]}, effect: read}
agents:
  boss: {instructions: x, delegates: {critic: {budget: {usd: 0.02}}}}
  critic: {description: d, instructions: y, tools: [look]}
steps:
  a: {agent: boss, prompt: go}
outputs: {x: "${{ steps.a.output }}"}
"""
SPAWN = """version: 1
models:
  default:
    provider: scripted
    max_tokens: 100
    price: {input: 5, output: 5}
    replies:
      - when: agent == 'boss' && turn == 1
        calls: [{tool: spawn, with: {instructions: i, prompt: a}}, {tool: spawn, with: {instructions: i, prompt: b}}, {tool: spawn, with: {instructions: i, prompt: c}}]
        usage: {input: 1000, output: 100}
      - when: agent == 'boss'
        text: "got ${{ results }}"
        usage: {input: 1000, output: 100}
      - {text: fine, usage: {input: 1000, output: 100}}
agents:
  boss: {instructions: x, spawn: {budget: {model_calls: 2}}}
steps:
  a: {agent: boss, prompt: go}
outputs: {x: "${{ steps.a.output }}"}
"""


def test_a_delegate_at_its_limit_is_an_error_for_who_called_it(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(DELEGATES)
    said = run(tmp_path, "run", "d.yaml", "--id", "one")["x"]
    assert "limited: the budget of a/turn1/tool0 has" in said
    assert "fine" in said
    assert run(tmp_path, "verify", "one")["ok"]


def test_agents_that_one_makes_share_their_budget(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPAWN)
    said = run(tmp_path, "run", "s.yaml", "--id", "one")["x"]
    assert said.count("fine") == 2
    assert said.count("limited: the budget of a/@spawn has 0 model calls left") == 1
    assert run(tmp_path, "verify", "one")["ok"]

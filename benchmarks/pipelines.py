"""The pipelines of the workloads."""

from __future__ import annotations

import shutil
from pathlib import Path

_STEP = '  s{i}: {{python: "steps:one", with: {{i: {i}}}, effect: read}}\n'
_SEQUENCE = "version: 1\nname: sequence\norder: sequence\nsteps:\n"
_WRITTEN = "version: 1\nname: written\nsteps:\n"
_MAP = """\
version: 1
name: map
steps:
  each:
    map: range({n})
    as: i
    max_items: {n}
    concurrency: {concurrency}
    do:
      python: "steps:one"
      with: {{i: "${{{{ i }}}}"}}
      effect: read
"""
_AGENTS = """\
version: 1
name: agents
models:
  default:
    provider: scripted
    replies: [{{text: ok}}]
agents:
  one: {{instructions: Say ok.}}
steps:
  each:
    map: range({n})
    as: i
    max_items: {n}
    concurrency: {n}
    do:
      agent: one
      prompt: Say ok to ${{{{ i }}}}.
"""
_TURNS = """\
version: 1
name: turns
models:
  default:
    provider: scripted
    replies:
      - when: turn <= {n}
        calls: [{{tool: look, with: {{q: "${{{{ string(turn) }}}}"}}}}]
      - text: ok
tools:
  look:
    description: Look something up.
    python: "steps:look"
    input: {{q: string}}
    effect: read
agents:
  looker:
    instructions: Look things up.
    tools: [look]
    turns: {turns}
steps:
  go: {{agent: looker, prompt: go}}
"""
_NAPS = "version: 1\nname: naps\norder: sequence\nsteps:\n"
_NAP = '  s{i}: {{python: "steps:nap", with: {{i: {i}}}, effect: read}}\n'


def sequence(n: int) -> str:
    """``n`` steps, each of which needs the one before it."""
    return _SEQUENCE + "".join(_STEP.format(i=i) for i in range(n))


def written(n: int) -> str:
    """``n`` steps with no order between them, each of them in the file."""
    return _WRITTEN + "".join(_STEP.format(i=i) for i in range(n))


def parallel(n: int, *, concurrency: int = 0) -> str:
    """``n`` steps of a map, all at once unless ``concurrency`` says otherwise."""
    return _MAP.format(n=n, concurrency=concurrency or n)


def agents(n: int) -> str:
    """``n`` agents at once, of one reply each."""
    return _AGENTS.format(n=n)


def turns(n: int) -> str:
    """One agent that calls a tool ``n`` times, once a turn."""
    return _TURNS.format(n=n, turns=n + 1)


def naps(n: int) -> str:
    """``n`` steps in sequence that take 10 ms each."""
    return _NAPS + "".join(_NAP.format(i=i) for i in range(n))


def write(folder: Path, text: str) -> Path:
    """A pipeline file with the module of its steps beside it."""
    shutil.copy(Path(__file__).with_name("steps.py"), folder / "steps.py")
    file = folder / "pipeline.yaml"
    file.write_text(text)
    return file


_REVIEW = """\
  review_{k}:  # number {k}
    agent: reviewer
    prompt: |
      Read the change below and say what is wrong with it.
      Answer with one finding per line: file, line, and why.
      ${{{{ steps.read_{k}.output.text }}}} of ${{{{ inputs.repo }}}}
    if: steps.read_{k}.output.lines > {k}
    output: {{ok: boolean, findings: [string]}}
    retry: {{attempts: 3, delay: 1s}}
    timeout: 5m
  read_{k}:
    run: git show "$1" && wc -l "$2"
    args:
      - ${{{{ inputs.commit }}}}
      - src/module_{k}.py
    env: [GIT_DIR]
    output:
      text: string
      lines: integer
    effect: read
"""
_REVIEWS = """\
version: 1
name: reviews
inputs:
  repo: string
  commit: {type: string, default: HEAD}
models:
  default:
    provider: scripted
    replies: [{output: {ok: true, findings: []}}]
agents:
  reviewer:
    instructions: You review changes.
    turns: 5
steps:
"""


def long_file(lines: int) -> str:
    """A valid file of about so many lines, such as a person would write."""
    each = _REVIEW.count("\n")
    return _REVIEWS + "".join(_REVIEW.format(k=k) for k in range((lines - _REVIEWS.count("\n")) // each))

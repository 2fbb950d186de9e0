"""Where the time goes: shares of a workload by what it is spent on, as the profiler of the standard library sees them.

    python -m benchmarks.profiles [--write]

A profiler makes calls dearer than they are, and what is C is charged to who called it: these are proportions, not
times. ``--write`` puts them into docs/performance.md.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import engine, pipelines
from benchmarks.measure import Place
from benchmarks.page import PAGE, put
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: dict[str, str] = {
    "waiting": r"/selectors\.py",
    "loop": r"/asyncio/|/anyio/|/sniffio/|/concurrent/",
    "database": r"/orchestrator/stores/(connection|lane)\.py|/sqlite3/",
    "JSON, hashes": r"/json/|/orchestrator/jsonish\.py|/orchestrator/journal/records\.py|/hashlib\.py",
    "journal": r"/orchestrator/(stores|journal/(writer|slices|store))",
    "decide, fold": r"/orchestrator/(engine|expr|graph|journal|spec/type)",
    "tools, models": r"/orchestrator/(tools|providers|agents)/|/steps\.py",
}
AT_START: dict[str, str] = {
    "finding and reading modules": r"importlib|zipimport",
    "`orch` itself": r"/orchestrator/",
    "pydantic": r"/pydantic",
    "ruamel.yaml": r"/ruamel/",
    "typer, rich": r"/typer/|/rich/|/click/",
    "anyio, asyncio": r"/asyncio/|/anyio/|/sniffio/|/concurrent/|/selectors\.py",
    "the standard library": r"/lib/python|<frozen|<string>",
}
IN_PROCESS: dict[str, tuple[Callable[[int], str], int, int]] = {
    "W1": (pipelines.sequence, 1000, 1),
    "W2": (pipelines.turns, 400, 1),
    "W3": (pipelines.parallel, 1000, 1),
    "W4": (lambda _: pipelines.naps(10), 1, 200),
}
_WHOLE = """
import cProfile, sys
profile = cProfile.Profile(builtins=False)
profile.enable()
sys.argv = ["orch", *sys.argv[2:]]
try:
    from orchestrator.__main__ import main
    main()
finally:
    profile.disable()
    profile.dump_stats({file!r})
"""


def shares(stats: pstats.Stats, kinds: dict[str, str]) -> dict[str, float]:
    """Percent of the time by kind."""
    found: Counter[str] = Counter()
    every: Any = stats
    for (file, line, name), (_, _, own, _, _) in every.stats.items():
        place = f"{file}:{line}:{name}"
        found[next((kind for kind, pattern in kinds.items() if re.search(pattern, place)), "other")] += own
    whole = sum(found.values())
    return {kind: 100 * own / whole for kind, own in found.items()}


def in_process(text: str, runs: int) -> dict[str, float]:
    """Of runs on an SQLite store, from the start of the first to the last end; the loop's thread alone."""
    profile = cProfile.Profile(builtins=False)
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        place = Place(f"sqlite:{folder}/runs.db", Path(folder), 1)
        graph = engine.compiled(place, text)

        async def work() -> None:
            async with engine.host_on(place) as host:
                profile.enable()
                async with anyio.create_task_group() as group:
                    for number in range(runs):
                        group.start_soon(engine.drive, host, graph, place, f"run{number}")
                profile.disable()

        anyio.run(work)
    return shares(pstats.Stats(profile), KINDS)


def tables() -> list[str]:
    """A row for each workload, and one for each command."""
    lines = _table({name: in_process(make(n), runs) for name, (make, n, runs) in IN_PROCESS.items()}, KINDS)
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as name:
        folder = Path(name)
        pipelines.write(folder, pipelines.sequence(1))
        commands = {
            "hello": ["run", "pipeline.yaml"],
            "hello again": ["run", "pipeline.yaml"],
            "validate": ["validate", "pipeline.yaml"],
            "list": ["list"],
        }
        found = {what: whole(folder, argv) for what, argv in commands.items()}
    return [*lines, "", *_table(found, AT_START)]


def _table(rows: dict[str, dict[str, float]], kinds: dict[str, str]) -> list[str]:
    names = [kind for kind in (*kinds, "other") if any(row.get(kind, 0) >= 0.5 for row in rows.values())]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for what, row in rows.items():
        cells = [f"{share:.0f}" if (share := row.get(kind, 0)) >= 0.5 else "" for kind in names]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return lines


def whole(folder: Path, argv: list[str]) -> dict[str, float]:
    """Of a whole command, from the first import of ours."""
    file = folder / "profile.out"
    code = _WHOLE.format(file=str(file))
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, "orch", *argv], cwd=folder, env=env, check=False, capture_output=True)
    return shares(pstats.Stats(str(file)), AT_START)


if __name__ == "__main__":
    made = tables()
    print("\n".join(made))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(put(PAGE.read_text(), "profiles", made))

"""Other engines under the same workloads, each in an environment of its own. What they are, and where."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCH = ROOT / ".bench"


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine: the extra of pyproject.toml that pins it, its module here, the stores that it has (``none``: it keeps
    nothing), and its workloads."""

    extra: str
    module: str
    stores: tuple[str, ...]
    workloads: tuple[str, ...]


PEERS = {
    "langgraph": Peer("bench-langgraph", "langgraph", ("sqlite", "postgres"), ("w1", "w2", "w3", "w4", "w5", "hello")),
    "dbos": Peer("bench-dbos", "dbos", ("sqlite", "postgres"), ("w1", "w3", "w4", "w5", "hello")),
    "power-loop": Peer(
        "bench-power-loop", "power_loop", ("sqlite", "postgres"), ("w1", "w2", "w3", "w4", "w5", "hello")
    ),
    "pydantic-ai": Peer("bench-pydantic-ai", "pydantic_ai", ("none",), ("w2", "agents", "hello")),
    "pydantic-ai+dbos": Peer("bench-pydantic-ai-dbos", "pydantic_ai", ("sqlite", "postgres"), ("w2",)),
}


def _folder(name: str) -> Path:
    return BENCH / "venvs" / PEERS[name].extra.removeprefix("bench-")


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment."""
    return _folder(name) / "bin" / "python"


def install(name: str) -> str | None:
    """Make a peer's environment, if it is not there as pyproject.toml pins it; what went wrong, in a line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = project["optional-dependencies"][PEERS[name].extra]
    folder, wanted = _folder(name), hashlib.sha256(repr((sys.version_info[:2], pins)).encode()).hexdigest()
    stamp = folder / "pins"
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    print(f"installing {name} into {folder.relative_to(ROOT)} (once)", file=sys.stderr)
    try:
        venv.create(folder, with_pip=True, clear=True)
        argv = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{name}: not installed: {error}"
    if done.returncode:
        return f"{name}: not installed: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"
    stamp.write_text(wanted)
    return None


def versions(name: str) -> list[str]:
    """What is installed of a peer: its pins, as `name==version`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["optional-dependencies"][PEERS[name].extra])

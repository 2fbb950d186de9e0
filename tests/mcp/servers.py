"""The servers of others that tests talk to, installed by npm into ``.cache/mcp``, once for each ``package.json``.

Where npm is missing, or cannot install, their tests are skipped with the reason in one line; ``npm`` among the names of
``ORCH_TEST_REQUIRE`` makes that a failure.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services import required

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "mcp"


def bin_folder() -> Path:
    """The folder with the programs of the servers."""
    npm = shutil.which("npm")
    if npm is None:
        _missing("no npm here")
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text()
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = CACHE / ".installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            (CACHE / "package.json").write_text(wanted)
            words = [str(npm), "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run([*words, "--no-package-lock"], capture_output=True, text=True)
            if done.returncode:
                _missing(f"npm install: {done.stderr.strip().rpartition(chr(10))[2]}")
            stamp.write_text(wanted)
    return CACHE / "node_modules" / ".bin"


def _missing(why: str) -> None:
    if "npm" in required():
        pytest.fail(f"the servers of package.json are required: {why}")
    pytest.skip(f"the servers of package.json are not there: {why}")

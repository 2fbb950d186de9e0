"""The live tree, on a real terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: no terminal to look at")

SPEC = """\
version: 1
name: shown
models:
  default:
    provider: scripted
    replies: [{text: "spoken \\u001b[2Jwords \\u202e", delay: 300ms, usage: {input: 5, output: 7}}]
steps:
  first: {run: "echo one"}
  talk: {agent: {}, prompt: hello, needs: [first]}
  many:
    map: range(40)
    needs: [first]
    do: {run: "while ! test -e go; do sleep 0.05; done"}
  last: {needs: [many], run: "exit 4", on_error: continue}
outputs:
  said: ${{ steps.talk.output }}
"""


class Terminal:
    """A shell in a terminal of 100 × 24."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = str(folder / "tmux")
        env = {key: os.environ[key] for key in ("PATH", "TMPDIR") if key in os.environ}
        self._env = env | {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "LANG": "C.UTF-8",
            "TERM": "screen",
        }
        self._tmux("-u", "new-session", "-d", "-x", "100", "-y", "24", "env PS1='> ' bash --norc --noprofile")

    def type(self, text: str) -> None:
        self._tmux("send-keys", text, "Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, width: str, height: str) -> None:
        self._tmux("resize-window", "-x", width, "-y", height)

    def screen(self, *, history: bool = False) -> str:
        return self._tmux("capture-pane", "-p", *(["-S", "-500"] if history else []))

    def wait_for(self, text: str) -> str:
        for _ in range(400):
            shown = self.screen(history=True)
            if text in shown:
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{text!r} never came:\n{self.screen(history=True)}")

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *args: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *args],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "shown.yaml").write_text(SPEC)
    found = Terminal(tmp_path)
    yield found
    found.close()


ORCH = f"{sys.executable} -m orchestrator"


def test_a_run_draws_its_tree_and_leaves_its_end(terminal: Terminal) -> None:
    terminal.type(f"{ORCH} run shown.yaml --id shown; echo code $?")
    # While it runs, busy steps alone are shown where there is no room for all, and a total line stands below.
    live = terminal.wait_for("talk says")
    assert "default: model is scripted" in live
    assert "✓ first" in live
    assert "more" in live or "● many" in live
    assert "shown  " in live
    assert "spoken words" in live
    (terminal.folder / "go").touch()
    end = terminal.wait_for("code 0")
    after = end[end.rindex("✓ first") :]
    assert "✓ many" in after
    assert "✗ last" in after
    assert "tool_error" in after
    assert '"said": "spoken \\u001b[2Jwords \\u202e"' in after
    assert "✓ done" in after
    assert "12 tokens" in after
    assert "run shown" in after
    assert "\u202e" not in end


@pytest.mark.parametrize("size", [("40", "24"), ("100", "12"), ("40", "12")])
def test_a_window_that_shrinks_keeps_nothing_of_what_was_drawn_before(
    terminal: Terminal, size: tuple[str, str]
) -> None:
    terminal.type(f"{ORCH} run shown.yaml --id shown; echo code $?")
    terminal.wait_for("talk says")
    terminal.resize(*size)
    time.sleep(0.5)
    live = terminal.screen()
    # The line of the total, not the one that says which run it is: that one may have left the window by now.
    assert (live.count("talk says"), len(re.findall(r"(?m)^shown  \d", live))) == (1, 1), live
    (terminal.folder / "go").touch()
    terminal.wait_for("code 0")
    # What left a lower window at its top belongs to the terminal's history, which nobody can take back.
    end = terminal.screen(history=size[1] == "24")
    assert "talk says" not in end
    assert end.count("\n✓ first") <= 1, end


def test_an_interrupt_leaves_the_terminal_whole(terminal: Terminal) -> None:
    terminal.type(f"{ORCH} run shown.yaml --id shown; echo code $?")
    terminal.wait_for("talk says")
    terminal.press("C-c")
    time.sleep(0.2)
    terminal.press("C-c")
    shown = terminal.wait_for("code 130")
    assert "stopped" in shown
    assert "next: orch resume shown" in shown
    terminal.type("echo still here")
    terminal.wait_for("\nstill here")


def test_a_dumb_terminal_gets_lines_and_no_control_codes(terminal: Terminal) -> None:
    (terminal.folder / "go").touch()
    terminal.type(f"TERM=dumb {ORCH} run shown.yaml --id shown 2> err; echo code $?")
    terminal.wait_for("code 0")
    terminal.type(f"NO_COLOR=1 {ORCH} show shown | cat; echo shown $?")
    terminal.wait_for("shown 0")
    err = (terminal.folder / "err").read_text()
    assert "talk" in err
    assert "\x1b" not in err

"""The two streams: data on standard output, everything said to people on standard error."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

from orchestrator.cli.render.text import json_text, plain
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from orchestrator.cli.flags import Flags

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class CannotPrint(OrchError):
    """Standard output takes no more."""

    code: ClassVar[str] = "E008"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, *, reason: str, verb: str) -> None:
        hint = "`orch resume RUN` prints outputs again" if verb in ("run", "resume") else None
        super().__init__(f"standard output cannot be written: {reason.lower()}", hint=hint)


class ReaderGone(Exception):
    """The reader of standard output has gone, as ``head`` does: no mistake of anyone's. Not the BrokenPipeError that it
    comes from: click would end the process on that, with a code of its own."""


class _Closed(TextIOWrapper):
    """Standard output that was closed before we began: what is said there is lost, and that is to be known."""

    def write(self, _: str, /) -> int:
        raise OSError(errno.EBADF, "it is closed")


def open_streams() -> None:
    """Give each standard stream that was closed something to be: without it, the first word on it would be a bug."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # They stay open as long as the process.
            made = _Closed(open(os.devnull, "wb")) if name == "stdout" else open(os.devnull, mode)  # noqa: SIM115, PTH123
            setattr(sys, name, made)


def silence(stream: TextIO) -> None:
    """Have what is said there from now on, and what is buffered, go nowhere. Raises OSError."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def silence_stdout() -> None:
    """Nothing more can be said there, not even what is buffered, which Python would write while it ends."""
    if isinstance(sys.stdout, _Closed):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  it stays open as long as the process
        return
    with suppress(OSError):
        silence(sys.stdout)


def silence_stderr() -> None:
    """Its reader has gone, or it has no room: the work goes on, and the exit code still tells."""
    try:
        silence(sys.stderr)
    except (OSError, ValueError):
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  it stays open as long as the process


class Screen:
    """Writes for one command. Text of others is made harmless by who hands it in (``render.text``)."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags

    # --- data ---

    def data(self, value: Any) -> None:
        """A JSON document: on one line for programs, indented on a terminal. A reader that has gone changes nothing of
        what happened, which the exit code tells.
        """
        with suppress(ReaderGone):
            self.data_text(json_text(value, indent=2 if sys.stdout.isatty() else None) + "\n")

    def line(self, value: Any) -> None:
        """A line of a stream of JSON."""
        self.data_text(json_text(value) + "\n")

    def data_text(self, text: str) -> None:
        """Text that is what was asked for. Raises ``CannotPrint``, and ``ReaderGone``."""
        try:
            sys.stdout.write(_encodable(text, sys.stdout))
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
            raise ReaderGone from None
        except OSError as error:
            silence_stdout()
            raise CannotPrint(reason=error.strerror or str(error), verb=self.flags.verb) from None

    # --- people ---

    def say(self, text: str) -> None:
        """A line to people, unless ``-q``."""
        if not self.flags.quiet:
            self.err(text + "\n")

    def detail(self, text: str, *, level: int = 1) -> None:
        """A line to people who asked for more with ``-v``."""
        if self.flags.verbose >= level:
            self.say(text)

    def err(self, text: str) -> None:
        """Text on standard error, whatever ``-q`` says."""
        try:
            sys.stderr.write(_encodable(text, sys.stderr))
            sys.stderr.flush()
        except OSError:
            silence_stderr()

    @property
    def live(self) -> bool:
        """True where standard error is a terminal that can redraw."""
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb") and not self.flags.quiet

    @property
    def github(self) -> bool:
        """True in a GitHub Actions job."""
        return os.environ.get("GITHUB_ACTIONS") == "true"

    def colored(self, stream: Any = None) -> bool:
        """Whether the stream (standard error) takes colours."""
        if self.flags.color != "auto":
            return self.flags.color == "always"
        if os.environ.get("NO_COLOR") or os.environ.get("TERM", "") == "dumb":
            return False
        return (stream or sys.stderr).isatty()

    def style(self, text: str, *names: str, stream: Any = None) -> str:
        """``text`` in a style, where there are colours."""
        if not names or not self.colored(stream):
            return text
        return f"\x1b[{';'.join(_STYLES[name] for name in names)}m{text}\x1b[0m"

    def problem(self, severity: str, code: str, message: str, hint: str | None = None) -> None:
        """A problem without a place, in the form of a diagnostic."""
        color = "red" if severity == "error" else "yellow"
        head = self.style(f"{severity}[{code}]", "bold", color)
        text = f"{head}: {plain(message)}\n"
        if hint:
            text += f"  = {self.style('help', 'bold')}: {plain(hint)}\n"
        if self.github:
            text += f"::{severity} title={code}::{github_escape(message)}\n"
        self.err(text)


def github_escape(text: str) -> str:
    """Text as the data of a workflow command."""
    return plain(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") == "utf8":
        return text.encode("utf-8", "replace").decode() if _has_surrogates(text) else text
    return text.encode(encoding, "replace").decode(encoding)


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)

"""Where every error of a command ends: as a sentence and an exit code."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, cast

import typer

from orchestrator.cli.screen import CannotPrint, ReaderGone, Screen, open_streams, silence_stdout
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.cli.flags import Flags

# typer carries a click of its own since 0.2x: this is UsageError in either.
_UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])


def guarded(flags: Flags, perform: Callable[[], int]) -> int:
    """The exit code of ``perform``, with what it raised said on standard error.

    A mistake of the user's ends in the code of its class. Anything else is a bug: a report is written, and the
    traceback shown with ``--debug`` alone.
    """
    open_streams()
    screen = Screen(flags)
    try:
        return perform()
    except (ReaderGone, BrokenPipeError):
        return _reader_gone()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EBADF) or error.filename is not None:
            return _bug(screen, error)
        silence_stdout()
        return report(screen, CannotPrint(reason=error.strerror or "no room", verb=flags.verb))
    except KeyboardInterrupt:
        return Exit.SIGINT
    except typer.Abort:
        return Exit.SIGINT
    except _UsageError as error:
        return _usage(screen, error)
    except OrchError as error:
        return report(screen, error)
    except BaseExceptionGroup as group:
        inner = _single(group)
        if isinstance(inner, OrchError):
            return report(screen, inner)
        if isinstance(inner, (ReaderGone, BrokenPipeError)):
            return _reader_gone()
        if isinstance(inner, KeyboardInterrupt):
            return Exit.SIGINT
        return _bug(screen, group)
    except Exception as error:  # noqa: BLE001  the boundary: what arrives here is a bug, and is reported as one
        return _bug(screen, error)


def report(screen: Screen, error: OrchError) -> int:
    """Say what went wrong; for programs, as JSON on standard output, too."""
    from orchestrator.cli.problems import show_error

    show_error(screen, error)
    return error.exit


def _single(group: BaseExceptionGroup) -> BaseException:
    """The one exception that matters in a group of tasks that fell together."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        inner = [each for each in found.exceptions if isinstance(each, (OrchError, BaseExceptionGroup))]
        found = (inner or list(found.exceptions))[0]
    return found


def _usage(screen: Screen, error: BaseException) -> int:
    context = getattr(error, "ctx", None)
    message = str(getattr(error, "format_message", lambda: str(error))()).strip()
    if type(error).__name__ == "NoArgsIsHelpError":
        screen.err(message + "\n")
        return Exit.USAGE
    command = context.command_path if context is not None else "orch"
    screen.problem("error", "E001", message, f"`{command} --help` shows what it takes")
    if screen.flags.json:
        screen.data({"error": {"code": "E001", "message": message, "detail": None, "step": None}})
    return Exit.USAGE


def _reader_gone() -> int:
    """The reader of a pipe has gone, as ``head`` does: no mistake of anyone's."""
    silence_stdout()
    return 128 + 13


def _bug(screen: Screen, error: BaseException) -> int:
    import traceback

    from orchestrator.app.secrets import without_secrets

    text = without_secrets("".join(traceback.format_exception(error)))
    where = _write_report(text)
    screen.problem(
        "error",
        "E999",
        f"a bug in orch: {type(error).__name__}",
        f"a report is in {where}" if where else "run it again with `--debug` for the traceback",
    )
    if screen.flags.error_document:
        screen.data({"error": {"code": "E999", "message": "a bug in orch", "detail": None, "step": None}})
    if screen.flags.debug:
        screen.err(text)
    return Exit.BUG


def _write_report(text: str) -> Path | None:
    """Write the traceback where this user's state lives. The command line may hold inputs, and stays out of it."""
    from orchestrator.cli.flags import version
    from orchestrator.ids import new_nonce
    from orchestrator.platform import user_state_dir

    path = user_state_dir() / "reports" / f"bug-{new_nonce()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(f"orch {version()}, Python {sys.version}\n\n{text}", encoding="utf-8", errors="replace")
    except OSError:
        return None
    return path

"""The global flags, which are accepted before and after the verb."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import slotted

if TYPE_CHECKING:
    from collections.abc import Callable

Color = Literal["auto", "always", "never"]


class BadFlag(OrchError):
    """A flag or variable has a value that it does not take, or none (None) where it needs one."""

    code = "E001"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, flag: str, value: str | None, *, problem: str) -> None:
        wrong = "is missing" if value is None else f"does not take {value[:80]!r}"
        super().__init__(f"{flag} {wrong}: {problem}")


class NoFolder(OrchError):
    """The working directory has gone, or may not be entered."""

    code = "E009"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"the working directory cannot be used: {reason.lower()}", hint="go to another one, or name it with -C"
        )


@slotted
class Flags:
    """What the global flags said. ``folder`` is that of ``-C``; ``store`` the text of ``--store`` alone; ``verb`` the
    verb that has begun.
    """

    store: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: Color = "auto"
    yes: bool = False
    debug: bool = False
    folder: str | None = None
    verb: str = ""

    @property
    def error_document(self) -> bool:
        """True where an error is due on standard output, too: of the verbs whose output a program waits for."""
        return self.json or (self.verb in ("run", "resume") and self.machine)

    @property
    def machine(self) -> bool:
        """True where standard output is for programs: one JSON document, or JSON lines."""
        return self.json or not sys.stdout.isatty()

    def enter_folder(self) -> None:
        """Work in the folder of ``-C`` from here on, as git and make do. Raises ``BadFlag`` and ``NoFolder``."""
        if self.folder is not None:
            try:
                os.chdir(self.folder)
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", None) or str(error)
                raise BadFlag("-C", self.folder, problem=problem) from None
        try:
            Path.cwd()
        except OSError as error:
            raise NoFolder(reason=error.strerror or str(error)) from None


def approval(value: str | None) -> Literal["ask", "never"] | None:
    """What ``--approve`` says. Raises BadFlag."""
    if value is None or value == "ask" or value == "never":
        return value
    raise BadFlag("--approve", value, problem="expected ask or never")


def from_environment(flags: Flags) -> None:
    """Take over the ``ORCH_*`` variables of global flags; ``ORCH_STORE`` is read with the configuration."""
    flags.json = _truth("ORCH_JSON")
    flags.quiet = _truth("ORCH_QUIET")
    flags.verbose = int(_truth("ORCH_VERBOSE"))
    flags.yes = _truth("ORCH_YES")
    flags.debug = _truth("ORCH_DEBUG")
    color = os.environ.get("ORCH_COLOR", "")
    if color:
        flags.color = _color("ORCH_COLOR", color)


def _truth(name: str) -> bool:
    text = os.environ.get(name, "").lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise BadFlag(name, text, problem="expected 1 or 0")


def _color(flag: str, value: str) -> Color:
    if value not in get_args(Color):
        raise BadFlag(flag, value, problem="expected auto, always or never")
    return cast("Color", value)


def add_global_flags(command: Any) -> None:
    """Add the global flags to a command."""
    from typer.core import TyperOption

    def option(*decls: str, take: Callable[[Flags, Any], None], **settings: Any) -> None:
        def callback(context: Any, _: Any, value: Any) -> None:
            if value not in (None, False, 0) and not context.resilient_parsing:
                take(context.find_root().obj, value)

        made = TyperOption(param_decls=list(decls), callback=callback, expose_value=False, **settings)
        command.params.append(made)

    def take(name: str) -> Callable[[Flags, Any], None]:
        return lambda flags, value: setattr(flags, name, value)

    def color(flags: Flags, value: str) -> None:
        flags.color = _color("--color", value)

    flag: dict[str, Any] = {"is_flag": True, "default": False}
    option("--store", take=take("store"), metavar="URL", help="Where runs are kept, as sqlite:///FILE.")
    option("--json", take=take("json"), help="Print one JSON document, or JSON lines.", **flag)
    option("-q", "--quiet", take=take("quiet"), help="Say only what went wrong.", **flag)
    option("-v", "--verbose", take=take("verbose"), help="Say more (twice: everything).", count=True, default=0)
    option("--color", take=color, metavar="WHEN", help="auto, always or never.")
    option("--yes", take=take("yes"), help="Answer yes to every question of orch's own.", **flag)
    option("--debug", take=take("debug"), help="Print the traceback of a bug.", **flag)
    option("-C", take=take("folder"), metavar="DIR", help="Work in this folder.")
    option("--version", take=_version, help="Print the version.", is_eager=True, **flag)


def _version(flags: Flags, _: object) -> None:
    import typer

    from orchestrator.cli.screen import Screen

    Screen(flags).data_text(f"orch {version()}\n")
    raise typer.Exit


def version() -> str:
    """The version of the installed package, or ``0`` of a bare checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of("orchestrator")
    except PackageNotFoundError:
        return "0"

"""``orch init``: a starter pipeline in a folder. Overwrites nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import begin
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TEMPLATES = ("scripted", "claude")
_IGNORED = (".orch/",)


class CannotWrite(OrchError):
    """A file of the starter cannot be written."""

    code: ClassVar[str] = "E006"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, path: Path, *, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")


def init(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="[DIR]", help="Where; made if missing.")] = ".",
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help="scripted (needs no key) or claude.")
    ] = "scripted",
) -> int:
    """Make a starter pipeline, orch.toml and lines of .gitignore. Overwrites nothing."""
    session = begin(context)
    if template not in TEMPLATES:
        raise BadFlag("--template", template, problem=f"expected one of {', '.join(TEMPLATES)}")
    target = Path(folder)
    made, kept = _write(target, template)
    if session.flags.machine:
        session.screen.data({"format": "orch.init/1", "made": made, "kept": kept})
    for name in made:
        session.screen.say(f"made {name}")
    for name in kept:
        session.screen.say(f"kept {name}, which was there")
    session.screen.say(f"next: orch run {target / 'pipeline.yaml'}")
    return 0


def _write(target: Path, template: str) -> tuple[list[str], list[str]]:
    from importlib.resources import files

    source = files("orchestrator.cli") / "templates"
    made: list[str] = []
    kept: list[str] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, resource in (("pipeline.yaml", f"{template}.yaml"), ("orch.toml", "orch.toml")):
            (made if _create(target / name, source / resource) else kept).append(str(target / name))
        (made if _ignore(target / ".gitignore") else kept).append(str(target / ".gitignore"))
    except (OSError, ValueError) as error:
        raise CannotWrite(target, reason=getattr(error, "strerror", None) or str(error)) from None
    return made, kept


def _create(path: Path, source: Traversable) -> bool:
    try:
        with path.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        return False
    return True


def _ignore(path: Path) -> bool:
    """Add the lines that are not there yet; False where all of them are."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    present = {line.strip() for line in text.splitlines()}
    missing = [line for line in _IGNORED if line not in present]
    if not missing:
        return False
    start = "" if not text or text.endswith("\n") else "\n"
    with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(start + "".join(f"{line}\n" for line in missing))
    return True


COMMANDS = {"init": init}

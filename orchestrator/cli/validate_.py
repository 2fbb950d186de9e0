"""``orch validate``: every problem of pipelines, without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import Session, begin
from orchestrator.cli.verbs import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.app.pipeline import Findings
    from orchestrator.spec.diagnostics import Format


def validate(
    context: typer.Context,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…|DIR|-", help="Pipelines, folders of them, or - for stdin.")
    ],
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="text, concise, json, sarif or github.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as findings.")] = False,
    policy: Annotated[str | None, typer.Option(hidden=True)] = None,
    max_usd: Annotated[str | None, typer.Option(hidden=True)] = None,
    allow_tools: Annotated[str | None, typer.Option(hidden=True)] = None,
    deny_models: Annotated[str | None, typer.Option(hidden=True)] = None,
    watch: Annotated[bool, typer.Option("--watch", hidden=True)] = False,
) -> int:
    """Find every problem of pipelines, without running them. Exit 0: none; 1: findings."""
    session = begin(context)
    refuse(policy=policy, max_usd=max_usd, allow_tools=allow_tools, deny_models=deny_models, watch=watch)
    found = list(_examined(files))
    _print(session, found, _format(session, form))
    return _verdict(session, found, strict=strict)


def _examined(files: list[str]) -> Iterator[Findings]:
    from orchestrator.app.pipeline import examine

    for file in files:
        if file == "-" or not Path(file).is_dir():
            yield examine(file)
        else:
            yield from _folder(Path(file))


def _folder(folder: Path) -> Iterator[Findings]:
    """The pipelines in a folder: what others of it import is read along with them, and is no pipeline itself."""
    from orchestrator.app.pipeline import NoSuchFile, examine

    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml") and _visible(path, folder))
    if not paths:
        raise NoSuchFile(str(folder), problem="there is no .yaml file in")
    found = [examine(str(path)) for path in paths]
    imported = {source for one in found for source in one.sources if source != str(Path(one.name).absolute())}
    yield from (one for one in found if not (one.fragment and str(Path(one.name).absolute()) in imported))


def _visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _format(session: Session, form: str | None) -> Format | None:
    from orchestrator.spec.diagnostics import FORMATS

    if form is not None and form not in FORMATS:
        raise BadFlag("--format", form, problem=f"expected one of {', '.join(FORMATS)}")
    if form is None and session.flags.json:
        return "json"
    if form is None and session.screen.github:
        return "github"
    return form


def _print(session: Session, found: list[Findings], form: Format | None) -> None:
    """The format that was asked for; else text to a terminal, JSON to a pipe with the text beside it for people."""
    import sys

    from orchestrator.spec.diagnostics import render

    every = [each for one in found for each in one.diagnostics]
    texts = {name: text for one in found for name, text in one.texts.items()}
    screen = session.screen
    if form is not None:
        screen.data_text(render(every, form, texts=texts, color=screen.colored(sys.stdout)))
    elif not session.flags.machine:
        screen.data_text(render(every, "text", texts=texts, color=screen.colored(sys.stdout)))
    else:
        screen.data_text(render(every, "json"))
        screen.err(render(every, "text", texts=texts, color=screen.colored()))


def _verdict(session: Session, found: list[Findings], *, strict: bool) -> int:
    from orchestrator.spec.diagnostics import Severity

    every: list[Any] = [each for one in found for each in one.diagnostics]
    errors = sum(each.severity is Severity.ERROR for each in every)
    warnings = len(every) - errors
    files = f"{len(found)} file{'s' if len(found) != 1 else ''}"
    parts = [
        f"{number} {word}{'s' if number != 1 else ''}"
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    session.screen.say(f"{files}: {', '.join(parts)}" if parts else f"{files}: valid")
    return 1 if errors or (strict and warnings) else 0


COMMANDS = {"validate": validate}

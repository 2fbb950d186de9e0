"""``orch run``: start a run and drive it until it ends, waits or is stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from orchestrator.cli.flags import BadFlag, approval
from orchestrator.cli.session import Session, begin
from orchestrator.cli.verbs import refuse
from orchestrator.errors import Exit, OrchError
from orchestrator.jsonish import clean_text

if TYPE_CHECKING:
    from orchestrator.app.config import Config, Named
    from orchestrator.app.inputs import Inputs
    from orchestrator.app.pipeline import Pipeline
    from orchestrator.engine.host import Host, RunEnd
    from orchestrator.graph.nodes import Graph
    from orchestrator.journal.store import RunRow, Store


class OtherRun(OrchError):
    """The id belongs to a run of another graph or other inputs."""

    code: ClassVar[str] = "E007"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, run_id: str, *, differs: str) -> None:
        super().__init__(
            f"run {run_id} exists, and its {differs} not these",
            hint=f"`orch resume {run_id}` goes on with it; without `--id` a new run starts",
        )


class Unpriced(OrchError):
    """A bound in dollars over a model without a price."""

    code: ClassVar[str] = "E319"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(
            f"--max-usd cannot hold the model `{name}`, whose price is not known",
            hint="say it in the file with `price: {input: …, output: …}`, or use --max-tokens",
        )


def run(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A pipeline, or - for stdin.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("-i", "--input", metavar="K=V", help="An input; JSON where its type is not text."),
    ] = None,
    document: Annotated[str | None, typer.Option("--inputs", metavar="F|-", help="Inputs as a JSON object.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The run's id; of an existing run: go on with it.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would run, and start nothing.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME=OTHER", help="Put another model of the file in the place of one."),
    ] = None,
    events: Annotated[
        str | None, typer.Option("--events", metavar="FILE|-", help="What happens, as JSON lines.")
    ] = None,
    stay: Annotated[str, typer.Option("--stay", metavar="60s|forever", help="How long to stay for a timer.")] = "60s",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="A label of the run.")] = None,
    max_usd: Annotated[str | None, typer.Option("--max-usd", metavar="USD", help="Stop before it costs more.")] = None,
    max_tokens: Annotated[
        str | None, typer.Option("--max-tokens", metavar="N", help="Stop before it uses more tokens.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", hidden=True)] = False,
    approve: Annotated[
        str | None, typer.Option("--approve", metavar="ask|never", help="Ask for approvals, or refuse them all.")
    ] = None,
    from_run: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> int:
    """Run a pipeline. Prints its outputs as one JSON object."""
    from orchestrator.app.inputs import gather
    from orchestrator.app.pipeline import read_pipeline
    from orchestrator.app.services import secrets_of

    session = begin(context)
    budget = _budget(max_usd, max_tokens)
    refuse(detach=detach, from_run=from_run)
    mode = approval(approve)
    _check_flags(file, document, run_id, stay)
    pipeline = read_pipeline(file, models=_pairs("--model", model or []))
    _say_warnings(session, pipeline)
    values = gather(pipeline.graph.inputs, pairs=inputs or [], document=document)
    if plan:
        return _plan(session, pipeline, values)
    secrets = secrets_of(pipeline.graph)
    config = session.config(pipeline.path)
    named = config.chosen(from_file=pipeline.store, file=pipeline.path)
    work = _Run(session, pipeline, values, secrets, config, named, labels=_pairs("--label", label or []))
    work.budget = budget
    work.approve = mode
    _check_prices(pipeline, budget)
    return work.perform(run_id, events)


def _check_flags(file: str, document: str | None, run_id: str | None, stay: str) -> None:
    from orchestrator.app.config import duration
    from orchestrator.app.runs import RUN_ID, BadRunId

    if file == "-" and document == "-":
        raise BadFlag("--inputs", "-", problem="standard input holds the pipeline already")
    if run_id is not None and not RUN_ID.fullmatch(run_id):
        raise BadRunId(run_id)
    if stay != "forever":
        try:
            duration(stay)
        except ValueError as error:
            raise BadFlag("--stay", stay, problem=str(error)) from None


def _pairs(flag: str, texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise BadFlag(flag, text, problem="expected name=value")
        if name in found:
            raise BadFlag(flag, text, problem=f"{name} is given twice")
        if clean_text(text) != text:
            raise BadFlag(flag, text, problem="it is not UTF-8")
        found[name] = value
    return found


def _budget(max_usd: str | None, max_tokens: str | None) -> dict[str, int]:
    """The bounds that the command line sets, beside those of the file."""
    from orchestrator.cli.budget_ import amount_of

    given = (("--max-usd", "usd", max_usd), ("--max-tokens", "tokens", max_tokens))
    return {name: amount_of(flag, value, name, value) for flag, name, value in given if value is not None}


def _check_prices(pipeline: Pipeline, budget: dict[str, int]) -> None:
    """A bound in dollars holds no model whose price is not known."""
    from orchestrator.app.graphs import constant_settings, models_of
    from orchestrator.app.prices import is_priced

    if "usd" in budget:
        for name, model in models_of(pipeline.graph).items():
            if not is_priced(constant_settings(model)):
                raise Unpriced(name)


def _say_warnings(session: Session, pipeline: Pipeline) -> None:
    if pipeline.warnings and not session.flags.quiet:
        from orchestrator.cli.render.diagnostics import show_diagnostics

        show_diagnostics(session.screen, pipeline.warnings, texts=pipeline.texts)


def _plan(session: Session, pipeline: Pipeline, inputs: Inputs) -> int:
    from orchestrator.app.graphs import constant_settings, models_of, tools_of
    from orchestrator.graph.render import render_tree

    models = {name: constant_settings(model) for name, model in models_of(pipeline.graph).items()}
    if session.flags.machine:
        from orchestrator.cli.graph_ import graph_object

        session.screen.data(
            {
                "format": "orch.plan/1",
                "graph": graph_object(pipeline.graph),
                "inputs": inputs.values,
                "models": {
                    name: {key: each.get(key) for key in ("provider", "model")} for name, each in models.items()
                },
                "tools": sorted({tool.name for tool in tools_of(pipeline.graph)}),
                "usd": None,
            }
        )
        return 0
    lines = [render_tree(pipeline.graph).rstrip("\n")]
    lines += [
        f"model {name}: {each.get('provider')} {each.get('model') or ''}".rstrip() for name, each in models.items()
    ]
    lines.append(
        "worst-case cost: $0.00"
        if all(each.get("provider") == "scripted" for each in models.values())
        else "worst-case cost: unknown"
    )
    session.screen.data_text("\n".join(lines) + "\n")
    return 0


class _Run:
    def __init__(
        self,
        session: Session,
        pipeline: Pipeline,
        inputs: Inputs,
        secrets: dict[str, str],
        config: Config,
        named: Named,
        *,
        labels: dict[str, str],
    ) -> None:
        self.session = session
        self.pipeline = pipeline
        self.inputs = inputs
        self.secrets = secrets
        self.config = config
        self.named = named
        self.labels = labels
        self.budget: dict[str, int] = {}
        self.approve: Literal["ask", "never"] | None = None

    def perform(self, run_id: str | None, events: str | None) -> int:
        import anyio

        from orchestrator.cli.drive import finish, open_events

        sink = open_events(events)
        end, stopped_by = anyio.run(self._drive, run_id, sink)
        return finish(self.session, end, stopped_by, streamed=sink is sys.stdout)

    async def _drive(self, run_id: str | None, sink: Any) -> tuple[RunEnd, int | None]:
        from orchestrator.app.runs import opened
        from orchestrator.app.services import build_services, files_folder, keep_files
        from orchestrator.cli.drive import Show, drive
        from orchestrator.ids import new_run_id
        from orchestrator.tools.redact import Redactor

        graph = self.pipeline.graph
        redactor = Redactor(self.secrets)
        for name in redactor.weak:
            self.session.screen.problem("warning", "W620", f"secret {name} is too short to be found in what steps say")
        say_unguarded(self.session, graph)
        folder = files_folder(self.named)
        services = build_services(self.secrets, redactor=redactor, files_folder=folder)
        async with opened(self.named, self.config, create=True) as store:
            row = None if run_id is None else await _existing(store, run_id)
            asks = self.approve != "never"
            show = Show(self.session, name=graph.name, redactor=redactor, events=sink, asks=asks)
            if row is not None:
                from orchestrator.cli.again import Manner, go_on

                await self._check_same(store, row)
                manner = Manner(attach=True, approve=self.approve)
                return await go_on(store, row, services=services, config=self.config, show=show, manner=manner)
            chosen = run_id or new_run_id()
            keep_files(folder, self.inputs.files)
            self._note(chosen)
            self._announce(chosen)

            async def act(host: Host) -> RunEnd:
                return await host.start(
                    graph,
                    inputs=self.inputs.values,
                    run_id=chosen,
                    folder=str(Path.cwd()),
                    labels=self.labels,
                    files=list(self.inputs.files.values()),
                    budget=self.budget,
                    approve=self.approve or "ask",
                )

            return await drive(act, store=store, services=services, config=self.config, show=show)

    async def _check_same(self, store: Store, row: RunRow) -> None:
        """An id that is taken means that run, if it is one of this graph and these inputs."""
        from orchestrator.graph.fingerprint import graph_hash

        if row.graph_hash != graph_hash(self.pipeline.graph):
            raise OtherRun(row.run_id, differs="graph is")
        records = await store.load(row.run_id, upto=1)
        if records[0].body.get("inputs") != self.inputs.values:
            raise OtherRun(row.run_id, differs="inputs are")
        if self.budget and records[0].body.get("budget", {}) != self.budget:
            raise OtherRun(row.run_id, differs="bounds (--max-usd, --max-tokens) are")

    def _note(self, run_id: str) -> None:
        from orchestrator.app.notes import Note, write_note
        from orchestrator.app.runs import absolute_url
        from orchestrator.clock import SystemClock

        url = absolute_url(self.named)
        if not url.startswith("memory:"):
            prefix = self.config.table_prefix or ""
            write_note(Note(run_id, url, str(self.named.folder), str(Path.cwd()), SystemClock().now(), prefix))

    def _announce(self, run_id: str) -> None:
        from orchestrator.app.graphs import scripted_models

        screen = self.session.screen
        screen.say(f"{screen.style(self.pipeline.graph.name, 'bold')}  run {run_id}")
        say_scripted(self.session, scripted_models(self.pipeline.graph))


def say_scripted(session: Session, models: list[str]) -> None:
    """No one shall take canned answers for a model's."""
    if models:
        word = "model is" if len(models) == 1 else "models are"
        session.screen.say(
            session.screen.style(f"{', '.join(models)}: {word} scripted: canned answers, no API is called", "yellow")
        )


def say_unguarded(session: Session, graph: Graph) -> None:
    """Say what runs without the sandbox that it prefers. Raises NoSandbox where one is required."""
    from orchestrator.app.services import unguarded
    from orchestrator.tools.sandbox import why_none

    names = unguarded(graph)
    if names:
        shown = ", ".join(f"`{name}`" for name in names)
        session.screen.problem("warning", "W650", f"{shown} without a sandbox: {why_none()}")


async def _existing(store: Store, run_id: str) -> RunRow | None:
    from orchestrator.journal.errors import NoSuchRun

    try:
        return await store.get_run(run_id)
    except NoSuchRun:
        return None


COMMANDS = {"run": run}

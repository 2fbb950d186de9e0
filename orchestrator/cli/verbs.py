"""The table of verbs: a new one is a file ``cli/NAME_.py`` and a line here."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.errors import Exit, OrchError, did_you_mean

VERBS: dict[str, str] = {
    "run": "Run a pipeline.",
    "resume": "Go on with a run that has stopped.",
    "init": "Make a starter pipeline.",
    "validate": "Find every problem of pipelines, without running them.",
    "list": "List the runs of a store.",
    "show": "Show a run: its steps, outputs, time and cost.",
    "logs": "Print what happened in a run, line by line.",
    "cancel": "Ask a run to end.",
    "send": "Say something to a running agent.",
    "budget": "Print the budgets of a run, or add to one of them.",
    "answer": "Answer a question of a run: approve a call, or deny it.",
    "resolve": "Settle a step whose effect is in doubt.",
    "verify": "Prove that a journal is whole and was decided by the rules.",
    "graph": "Draw a pipeline or the graph of a run.",
    "schema": "Print the JSON Schema of the language, the records or the command line.",
    "export": "Print a run's graph and journal as JSON lines.",
    "import": "Make a run from its export, in another store.",
    "gc": "Take away runs that ended long ago.",
    "db": "Make, check, copy or tidy the tables of a store.",
    "doctor": "Check this installation: versions, store, sandbox, keys.",
}

PLANNED = (
    "fork", "test", "watch", "signal", "worker", "schedule",
)  # fmt: skip


class UnknownVerb(OrchError):
    """There is no such verb, or not yet."""

    code = "E002"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, name: str) -> None:
        close = did_you_mean(name, list(VERBS))
        if name in PLANNED:
            super().__init__(f"`orch {name}` is not available yet", hint="`orch --help` lists the verbs")
        else:
            hint = f"did you mean `orch {close}`?" if close else "`orch --help` lists the verbs"
            super().__init__(f"there is no verb `{name[:80]}`", hint=hint)
        self.name = name


class NotAvailable(OrchError):
    """A documented flag that nothing performs yet."""

    code = "E003"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not available yet")


def refuse(**flags: object) -> None:
    """Raise ``NotAvailable`` for the first flag that was given. Names have ``_`` for ``-``."""
    for name, value in flags.items():
        if value not in (None, False, [], ()):
            raise NotAvailable(f"`--{name.replace('_', '-')}`")

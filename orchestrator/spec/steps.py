"""Steps, as a pipeline file writes them: exactly one kind each, and any of the modifiers."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from orchestrator.spec.agents import AgentOrName
from orchestrator.spec.fields import (
    Amount,
    Budget,
    Duration,
    DurationOrText,
    Effect,
    Env,
    Expr,
    FixedText,
    FullText,
    Function,
    Launcher,
    Limit,
    LongName,
    Name,
    Names,
    Prompt,
    Sandbox,
    Script,
    Text,
    Type,
)
from orchestrator.spec.model import (
    BY_SHAPE,
    LIST,
    MAP,
    NUMBER,
    TEXT,
    Bound,
    Model,
    Named,
    Tag,
    Told,
    refuse,
    rule,
    shape,
)
from orchestrator.spec.tools import Choices, OnDoubt, Shell, Status, ToolOrName

RetryClass: TypeAlias = Literal["timeout", "rate_limit", "unavailable", "tool_error", "invalid_output"]
RetryOn: TypeAlias = Annotated[
    Annotated[RetryClass, TEXT] | Annotated[Status, NUMBER],
    BY_SHAPE,
]


class Retry(Model):
    """When a step is tried again."""

    attempts: Limit
    """All attempts, the first one too."""
    delay: Duration | None = None
    backoff: Annotated[float, Bound(ge=1)] | None = None
    """The factor between two delays; 2 by default."""
    max_delay: Duration | None = None
    on: list[RetryOn] | None = None
    """Classes of errors, or statuses of HTTP."""


class StepBase(Model):
    """The modifiers that go with every kind."""

    needs: Names | None = None
    """Steps that must have ended before, whatever their end."""
    if_: Expr | None = None
    retry: Retry | None = None
    timeout: DurationOrText | None = None
    """Of one attempt."""
    on_error: OnError | None = None
    undo: Step | None = None
    """A step that takes the effect back."""
    budget: Budget | None = None
    output: Type = None
    """The checked type of the result."""
    dir: Text | None = None
    """The working directory of scripts and tools inside."""
    resources: dict[str, Amount] | None = None
    description: str | None = None


class Guarded(StepBase):
    """The modifiers of steps that run code."""

    effect: Effect | None = None
    on_doubt: OnDoubt | None = None
    sandbox: Sandbox | None = None


class AgentStep(StepBase):
    """Runs an agent until it ends its turn or gives its output."""

    agent: AgentOrName
    prompt: Prompt
    session: Name | None = None


class ToolStep(StepBase):
    """One call of a tool, with no model."""

    tool: ToolOrName
    with_: dict[str, Any] | None = None


class RunStep(Guarded):
    """A script."""

    run: Script
    args: list[Any] | None = None
    env: Env | None = None
    stdin: Any = None
    shell: Shell | None = None
    launcher: Launcher | None = None
    files: dict[Name, FullText] | None = None
    """Files to keep."""
    expect: list[int] | None = None
    """Good exit codes; `[0]` by default."""


class PythonStep(Guarded):
    """A function of Python."""

    python: Function
    with_: dict[str, Any] | None = None
    isolate: Literal["thread", "process"] | None = None

    @rule
    def _around_a_process(self) -> None:
        if self.isolate == "thread" and self.sandbox in ("preferred", "required"):
            raise refuse("E127", "a `sandbox` is around a process: it does not go with `isolate: thread`", "sandbox")


class GroupStep(StepBase):
    """Steps in a scope of their own."""

    steps: Steps
    outputs: dict[Name, Any] | None = None
    join: Join | None = None
    order: Literal["sequence"] | None = None
    finally_: Steps | None = None


class MapStep(StepBase):
    """One activation of `do` for each item."""

    map: Expr
    as_: Name | None = None
    key: Expr | None = None
    concurrency: Limit | None = None
    max_items: Limit | None = None
    join: Join | None = None
    do: Step


class LoopBody(Model):
    """When a loop ends."""

    until: Expr | None = None
    max: Limit | None = None
    start: Any = None
    on_max: Literal["fail", "accept"] | None = None


class LoopStep(StepBase):
    """Repeats `do`."""

    loop: LoopBody
    do: Step


class SwitchStep(StepBase):
    """One of several steps."""

    switch: Expr
    cases: Annotated[dict[str, Step], Bound(least=1)]
    default: Step | None = None


class AskBody(Model, one=("choices", "schema")):
    """A question to a person."""

    message: Prompt
    choices: Choices | None = None
    schema_: Type = None
    timeout: DurationOrText | None = None
    on_timeout: Text | None = None

    @rule
    def _answered(self) -> None:
        if self.on_timeout is not None and self.timeout is None:
            raise refuse("E127", "`on_timeout` needs a `timeout`", "on_timeout")


class AskStep(StepBase):
    """Waits for a person."""

    ask: AskBody

    @rule
    def _own_timeout(self) -> None:
        if self.timeout is not None:
            raise refuse("E127", "`timeout` belongs inside `ask`", "timeout")


class WaitUntil(Model):
    """A wait for a time."""

    until: FullText


class WaitSignal(Model):
    """A wait for a signal."""

    signal: SignalNames
    schema_: Type = None
    timeout: DurationOrText | None = None


class WaitStep(StepBase):
    """A timer, or a signal."""

    wait: Wait

    @rule
    def _own_timeout(self) -> None:
        if self.timeout is not None:
            raise refuse("E127", "`timeout` belongs inside `wait`", "timeout")


class PipelineStep(StepBase):
    """Another pipeline as a child run."""

    pipeline: FixedText
    with_: dict[str, Any] | None = None


class SetStep(StepBase):
    """Computed values."""

    set: dict[Name, Any]


class FailBody(Model):
    """An end that is a failure, in detail."""

    message: FullText
    code: Text | None = None
    status: FailStatus | None = None
    detail: Any = None


class FailStep(StepBase):
    """Fails its scope."""

    fail: Fail

    @rule
    def _no_output(self) -> None:
        if "output" in self.given:
            raise refuse("E127", "`output` does not go with `fail`, which has none", "output")


class JoinRule(Model):
    """When a map or a group has ended, in detail."""

    mode: Literal["all", "settled", "first"]
    min_success: Limit | None = None

    @rule
    def _settled(self) -> None:
        if self.min_success is not None and self.mode != "settled":
            raise refuse("E127", "`min_success` goes with `mode: settled`", "min_success")


Join: TypeAlias = Annotated[
    Annotated[Literal["all", "settled", "first"], TEXT] | Annotated[JoinRule, MAP],
    BY_SHAPE,
    Named("Join"),
]
SignalNames: TypeAlias = Annotated[
    Annotated[LongName, TEXT] | Annotated[Annotated[list[LongName], Bound(least=1)], LIST],
    BY_SHAPE,
]
Fail: TypeAlias = Annotated[
    Annotated[FullText, TEXT] | Annotated[FailBody, MAP],
    BY_SHAPE,
]
FailStatus: TypeAlias = Annotated[
    Annotated[int, NUMBER] | Annotated[Text, TEXT],
    BY_SHAPE,
]


def wait_shape(value: Any) -> str:
    """The tag of what a step waits for."""
    if not isinstance(value, dict):
        return "\0text" if isinstance(value, int | float) and not isinstance(value, bool) else shape(value)
    kinds = [kind for kind in ("until", "signal") if kind in value]
    return "\0" + kinds[0] if len(kinds) == 1 else "\0wait kinds"


Wait: TypeAlias = Annotated[
    Annotated[DurationOrText, TEXT] | Annotated[WaitUntil, Tag("\0until")] | Annotated[WaitSignal, Tag("\0signal")],
    Told(wait_shape),
]

STEP_KINDS: Final = (
    "agent", "tool", "run", "python", "steps", "map", "loop", "switch", "ask", "wait", "pipeline", "set", "fail",
)  # fmt: skip


def step_kind(value: Any) -> str:
    """The tag of a step: its kind, where it has exactly one."""
    if not isinstance(value, dict):
        return shape(value)
    kinds = [kind for kind in STEP_KINDS if kind in value]
    return "\0" + kinds[0] if len(kinds) == 1 else "\0step kinds"


Step: TypeAlias = Annotated[
    Annotated[AgentStep, Tag("\0agent")]
    | Annotated[ToolStep, Tag("\0tool")]
    | Annotated[RunStep, Tag("\0run")]
    | Annotated[PythonStep, Tag("\0python")]
    | Annotated[GroupStep, Tag("\0steps")]
    | Annotated[MapStep, Tag("\0map")]
    | Annotated[LoopStep, Tag("\0loop")]
    | Annotated[SwitchStep, Tag("\0switch")]
    | Annotated[AskStep, Tag("\0ask")]
    | Annotated[WaitStep, Tag("\0wait")]
    | Annotated[PipelineStep, Tag("\0pipeline")]
    | Annotated[SetStep, Tag("\0set")]
    | Annotated[FailStep, Tag("\0fail")],
    Told(step_kind),
    Named("Step"),
]

Steps: TypeAlias = Annotated[dict[Name, Step], Bound(least=1)]

OnError: TypeAlias = Annotated[
    Annotated[Literal["fail", "continue"], TEXT] | Annotated[Step, MAP],
    BY_SHAPE,
    Named("OnError"),
]

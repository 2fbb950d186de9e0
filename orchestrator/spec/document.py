"""A whole pipeline file as a typed, frozen value."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from orchestrator.spec.agents import AgentEntry, ModelEntry
from orchestrator.spec.fields import (
    Budget,
    Expr,
    FixedText,
    FullText,
    Hooks,
    Limit,
    LongName,
    Name,
    SecretName,
    Text,
    Type,
    TypeName,
)
from orchestrator.spec.model import (
    BY_SHAPE,
    MAP,
    TEXT,
    Bound,
    Model,
    Schema,
)
from orchestrator.spec.steps import Join, Step, Steps
from orchestrator.spec.tools import Tool

End: TypeAlias = Literal["waiting", "paused", "failed", "limited", "done"]


class Notify(Model):
    """A tool that is called when a run gets somewhere."""

    on: Annotated[list[End], Bound(least=1)]
    tool: Name


class Concurrency(Model):
    """A bound on the runs of a group."""

    group: Expr
    limit: Limit | None = None
    on_conflict: Literal["queue", "refuse", "cancel_old"] | None = None


class Schedule(Model):
    """When runs start by themselves."""

    cron: FullText
    tz: FixedText | None = None
    overlap: FixedText | None = None
    catch_up: Any = None
    inputs: dict[Name, Any] | None = None


class Pipeline(Model):
    """A child pipeline that is kept in the same file."""

    description: str | None = None
    inputs: dict[Name, Type] | None = None
    steps: Steps
    outputs: dict[Name, Any] | None = None
    join: Join | None = None
    order: Literal["sequence"] | None = None
    finally_: Steps | None = None


class Document(Model):
    """A pipeline, in version 1 of the language."""

    version: Annotated[
        Literal[1], Schema({"const": 1, "description": "The version of the language", "type": "integer"})
    ]
    name: LongName | None = None
    description: str | None = None
    store: FullText | None = None
    """Where runs are kept: a URL. `--store`, `ORCH_STORE` and `orch.toml` win over it."""
    imports: list[FixedText] | None = None
    """Files whose models, tools, agents, types and pipelines are merged into this one."""
    types: dict[TypeName, Type] | None = None
    inputs: dict[Name, Type] | None = None
    secrets: list[SecretName] | None = None
    """Names of variables; a `?` behind one makes it optional."""
    budget: Budget | None = None
    models: dict[Name, ModelEntry] | None = None
    tools: dict[Name, Tool] | None = None
    agents: dict[Name, AgentEntry] | None = None
    steps: Steps
    on_failure: OnFailure | None = None
    finally_: Steps | None = None
    order: Literal["sequence"] | None = None
    dir: Text | None = None
    outputs: dict[Name, Any] | None = None
    labels: dict[str, Any] | None = None
    notify: Notify | None = None
    concurrency: Concurrency | None = None
    schedule: Schedule | None = None
    pipelines: dict[Name, Pipeline] | None = None
    hooks: Hooks | None = None


OnFailure: TypeAlias = Annotated[
    Annotated[Literal["undo"], TEXT] | Annotated[Step, MAP],
    BY_SHAPE,
]

"""What a person says that a step in doubt gave, against the type of its result: as if the step had given it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from orchestrator.graph.nodes import Graph, Node, Schema
    from orchestrator.journal.state import RunState


class ResultDoesNotFit(OrchError):
    """The result is not of the type that the step gives."""

    code: ClassVar[str] = "E307"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, path: str, problems: list[str], *, fields: list[str]) -> None:
        listed = "; ".join(problems[:5])
        hint = f"it gives an object of {', '.join(f'`{name}`' for name in fields)}" if fields else None
        super().__init__(f"this is no result of step {path!r}: {listed}", hint=hint)


def fitting(graph: Graph, state: RunState, *, run_id: str, path: str, result: Any) -> Any:
    """``result`` in the shape that the step at ``path`` gives. Raises ``ResultDoesNotFit``.

    ``state`` is decided on, and no longer that of the journal afterwards.
    """
    from orchestrator.engine.decide import Decider, RunInfo
    from orchestrator.spec.values import check_value, shape_value

    # Only the decider knows which node a path leads to: the tool of an agent's call is known from the model's reply.
    decider = Decider(graph, state, RunInfo(run_id))
    decider.decide()
    act = decider.acts.get(path)
    if act is None:
        return result
    schema = _schema(act.node)
    if schema is None:
        return result
    if act.node.lenient and act.node.output is not None:
        result = shape_value(schema, result)
    problems = check_value(schema, result)
    if problems:
        raise ResultDoesNotFit(path, problems, fields=list(schema.get("properties", {})))
    return result


def _schema(node: Node) -> Schema | None:
    """What the node's results must fit; None where they may be anything."""
    from orchestrator.agents.results import HTTP_OUTPUT, OPERATION_OUTPUTS, SHELL_OUTPUT
    from orchestrator.graph.nodes import CallConfig
    from orchestrator.spec.types import to_schema

    if node.output is not None or not isinstance(node.config, CallConfig):
        return node.output
    if node.config.operation is not None:
        return to_schema(OPERATION_OUTPUTS[node.config.operation])
    match node.config.tool.kind:
        case "shell":
            return to_schema(SHELL_OUTPUT)
        case "http":
            return to_schema(HTTP_OUTPUT)
        case _:
            return None

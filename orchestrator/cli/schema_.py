"""``orch schema``: JSON Schemas of the language, of records, and of what the command line prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import BadFlag
from orchestrator.cli.session import begin

if TYPE_CHECKING:
    from collections.abc import Callable


def schema(
    context: typer.Context,
    of: Annotated[str, typer.Option("--of", metavar="WHAT", help="pipeline, records or cli.")] = "pipeline",
) -> int:
    """Print a JSON Schema (draft 2020-12)."""
    from orchestrator.cli.schemas import cli_schema, records_schema

    session = begin(context)
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "pipeline": _pipeline,
        "records": records_schema,
        "cli": cli_schema,
    }
    if of not in known:
        raise BadFlag("--of", of, problem=f"expected one of {', '.join(known)}")
    import json

    # Byte for byte what is published in schemas/, on a terminal and in a pipe.
    session.screen.data_text(json.dumps(known[of](), indent=1, ensure_ascii=False) + "\n")
    return 0


def _pipeline() -> dict[str, Any]:
    from orchestrator.spec.schema import pipeline_schema

    return pipeline_schema()


COMMANDS = {"schema": schema}

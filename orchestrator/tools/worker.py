"""The process in which a python function with ``isolate: process`` runs: one call, then its end.

It is run as a file by a fresh interpreter, and reads one JSON object from stdin: ``{"packages": the folder of this
package, "path": sys.path, "ref", "search", "args", "context": the fields of a ToolContext but its log}``.

What the function prints, by whatever means, goes to the first output. The second one is ours: ``+`` just before the
function is called, so that a process that dies tells whether anything can have happened, and then one JSON object,
``{"value"}`` or ``{"code", "message", "status", "detail", "no_effect"}``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve the one call, and end with the process, whatever threads the function has left."""
    ours = os.dup(2)
    os.dup2(1, 2)
    with open(0, "rb", closefd=False) as stdin:  # noqa: PTH123  of a descriptor
        order = json.loads(stdin.read())
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    sys.path[:] = order["path"]
    if order["packages"] not in sys.path:
        sys.path.append(order["packages"])
    body = json.dumps(_called(order, ours)).encode()
    for stream in (sys.stdout, sys.stderr):
        _flushed(stream)
    while body:
        body = body[os.write(ours, body) :]
    os._exit(0)


def _called(order: dict[str, Any], ours: int) -> dict[str, Any]:
    import logging
    from pathlib import Path

    from orchestrator.tools.calling import arguments, problem, result
    from orchestrator.tools.context import ToolContext
    from orchestrator.tools.functions import NoFunction, find_function

    ref = order["ref"]
    try:
        function = find_function(ref, order["search"])
    except NoFunction as error:
        return _failed("tool_error", error.message, no_effect=True)
    except BaseException as error:  # noqa: BLE001  a module of the user's may raise anything
        return problem(error, no_effect=True, when=f"while {ref} was imported: ")
    told: dict[str, Any] = {**order["context"], "folder": Path(order["context"]["folder"])}
    context = ToolContext(log=logging.getLogger("orchestrator.run"), **told)
    given = arguments(function, order["args"], context)
    if isinstance(given, str):
        return _failed("tool_error", f"{ref}: {given}", no_effect=True)
    os.write(ours, b"+")
    try:
        found = _awaited(function, given)
    except BaseException as error:  # noqa: BLE001  the attempt's boundary: the user's code may raise anything
        return problem(error)
    value, why = result(ref, found)
    return {"value": value} if why is None else _failed("invalid_output", why)


def _awaited(function: Any, given: dict[str, Any]) -> Any:
    """What the function gives; where that has to be awaited, on a loop that lasts as long."""
    from orchestrator.tools.calling import is_async

    found = None if is_async(function) else function(**given)
    if not is_async(function) and not hasattr(found, "__await__"):
        return found
    import anyio

    async def wait() -> Any:
        return await (function(**given) if found is None else found)

    return anyio.run(wait)


def _failed(code: str, message: str, *, no_effect: bool = False) -> dict[str, Any]:
    return {"code": code, "message": message, "status": None, "detail": None, "no_effect": no_effect}


def _flushed(stream: Any) -> None:
    try:
        stream.flush()
    except Exception:  # noqa: BLE001  the function may have put anything in its place, or closed it
        return


if __name__ == "__main__":
    main()

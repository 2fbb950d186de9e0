"""Python functions as tools and steps.

Request: ``{"ref": "pkg.mod:function", "args": {…}, "search": [folder, …], "folder": working directory}``. ``search``
holds the folder of the file that names the function. The output is what the function returns, as JSON (``plain``).
With ``"isolate": "process"`` the call runs in a process of its own (``isolated``).

A plain function runs in a thread of its own. A thread cannot be killed: when its call is cancelled it goes on alone,
its result is dropped, and the process does not wait for it at its end.
"""

from __future__ import annotations

import inspect
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from orchestrator.tools.calling import arguments, is_async, problem, result
from orchestrator.tools.context import ToolContext
from orchestrator.tools.functions import NoFunction, cached_function, find_function
from orchestrator.tools.policy import failed, finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.tools.protocol import CallContext, Outcome


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Call the function once. See the module for the request."""
    if request.get("isolate") == "process":
        from orchestrator.tools.isolated import perform_isolated

        return await perform_isolated(request, context)
    ref, search = request["ref"], request.get("search") or []
    try:
        function = cached_function(ref, search) or await in_thread(find_function, ref, search)
    except NoFunction as error:
        return failed(context, "tool_error", error.message, no_effect=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a module of the user's may raise anything
        return failed(context, **problem(error, no_effect=True, when=f"while {ref} was imported: "))
    given = arguments(function, _own(request.get("args") or {}), _told(context))
    if isinstance(given, str):
        return failed(context, "tool_error", f"{ref}: {given}", no_effect=True)
    try:
        if is_async(function):
            found = await function(**given)
        else:
            found = await in_thread(function, **given)
            if inspect.isawaitable(found):
                found = await found
    except (Exception, SystemExit) as error:  # noqa: BLE001  the attempt's boundary: the user's code may raise anything
        return failed(context, **problem(error))
    value, why = result(ref, found)
    return finish(value, context) if why is None else failed(context, "invalid_output", why)


def _own(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of JSON. A function may change what it is given, and what it is given is what the journal says."""
    made = dict(value)
    for name, item in value.items():
        if item.__class__ is dict:
            made[name] = _own(item)
        elif item.__class__ is list:
            made[name] = _own_list(item)
    return made


def _own_list(value: list[Any]) -> list[Any]:
    return [
        _own(item) if item.__class__ is dict else _own_list(item) if item.__class__ is list else item for item in value
    ]


def _told(context: CallContext) -> ToolContext:
    """What the function may know of its call."""
    return ToolContext(
        idempotency_key=context.idempotency_key,
        deadline=context.deadline,
        log=context.log,
        run_id=context.run_id,
        path=context.path,
        attempt=context.attempt,
        folder=context.folder,
    )


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function`` in a thread that neither a cancellation nor the end of the process waits for.

    anyio's own worker threads do keep a process alive until the function returns.
    """
    done = anyio.Event()
    token = anyio.lowlevel.current_token()
    box: list[tuple[Any, BaseException | None]] = []
    variables = copy_context()

    def work() -> None:
        try:
            box.append((variables.run(function, *args, **kwargs), None))
        except BaseException as error:  # noqa: BLE001  handed over to whoever waits
            box.append((None, error))
        try:
            anyio.from_thread.run_sync(done.set, token=token)
        except RuntimeError:
            return  # nobody waits any more: the loop has ended

    threading.Thread(target=work, name=f"orch-{getattr(function, '__name__', 'call')}", daemon=True).start()
    await done.wait()
    result, error = box.pop()
    if error is not None:
        if not isinstance(error, (Exception, SystemExit)):
            # Raised here, a cancellation of the function's own would look like one of this call.
            raise RuntimeError(f"{type(error).__name__} raised") from error
        raise error
    return result

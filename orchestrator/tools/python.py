"""Python functions as tools and steps.

Request: ``{"ref": "pkg.mod:function", "args": {…}, "search": [folder, …], "folder": working directory}``. ``search``
holds the folder of the file that names the function. The output is what the function returns, as JSON (``plain``).

A plain function runs in a thread of its own. A thread cannot be killed: when its call is cancelled it goes on alone,
its result is dropped, and the process does not wait for it at its end.
"""

from __future__ import annotations

import inspect
import os
import threading
import traceback
from contextvars import copy_context
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from orchestrator.tools.context import ToolContext, ToolError
from orchestrator.tools.functions import NoFunction, cached_function, find_function
from orchestrator.tools.plain import plain
from orchestrator.tools.policy import failed, finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.tools.protocol import CallContext, Done, Failed, Outcome

_OURS = str(Path(__file__).parent.parent) + os.sep
_FRAMES = 8


async def perform(request: dict[str, Any], context: CallContext) -> Outcome:
    """Call the function once. See the module for the request."""
    ref, search = request["ref"], request.get("search") or []
    try:
        function = cached_function(ref, search) or await in_thread(find_function, ref, search)
    except NoFunction as error:
        return failed(context, "tool_error", error.message, no_effect=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a module of the user's may raise anything
        return _from_exception(error, context, no_effect=True, when=f"while {ref} was imported: ")
    arguments = _arguments(function, dict(request.get("args") or {}), context)
    if isinstance(arguments, str):
        return failed(context, "tool_error", f"{ref}: {arguments}", no_effect=True)
    try:
        if _is_async(function):
            result = await function(**arguments)
        else:
            result = await in_thread(function, **arguments)
            if inspect.isawaitable(result):
                result = await result
    except (Exception, SystemExit) as error:  # noqa: BLE001  the attempt's boundary: the user's code may raise anything
        return _from_exception(error, context)
    return _finish(result, ref, context)


def _finish(result: Any, ref: str, context: CallContext) -> Done | Failed:
    try:
        value = plain(result)
    except Exception as error:  # noqa: BLE001  objects of the user's are asked for their contents
        return failed(context, "invalid_output", f"{ref} returned what is not JSON: {_sentence(error)}")
    return finish(value, context)


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


def _arguments(function: Callable[..., Any], args: dict[str, Any], context: CallContext) -> dict[str, Any] | str:
    """The keyword arguments of the call, or what is wrong with them."""
    try:
        signature = _signature(function) if inspect.isfunction(function) else inspect.signature(function)
    except (TypeError, ValueError):
        return args  # a builtin that does not tell
    if "context" in signature.parameters and "context" not in args:
        args["context"] = ToolContext(
            idempotency_key=context.idempotency_key,
            deadline=context.deadline,
            log=context.log,
            run_id=context.run_id,
            path=context.path,
            attempt=context.attempt,
            folder=context.folder,
        )
    try:
        signature.bind(**args)
    except TypeError as error:
        return str(error)
    return args


@lru_cache(256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Of a function that may be called thousands of times in one run."""
    return inspect.signature(function)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _from_exception(error: BaseException, context: CallContext, *, no_effect: bool = False, when: str = "") -> Failed:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames[-_FRAMES:]]
    if isinstance(error, ToolError):
        detail: Any = {"traceback": lines}
        if error.detail is not None:
            try:
                detail = plain(error.detail)
            except Exception as bad:  # noqa: BLE001  objects of the user's are asked for their contents
                detail = {"traceback": lines, "problem": f"detail is not JSON: {_sentence(bad)}"}
        return failed(
            context,
            error.code,
            error.message,
            status=error.status,
            detail=detail,
            no_effect=error.no_effect or no_effect,
        )
    return failed(context, "tool_error", when + _sentence(error), detail={"traceback": lines}, no_effect=no_effect)


def _sentence(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  a user's exception may fail even here
        text = ""
    if isinstance(error, BaseExceptionGroup):
        text += " " + "; ".join(_sentence(inner) for inner in error.exceptions[:3])
    return f"{name}: {text}" if text else name

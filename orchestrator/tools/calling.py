"""Calling a user's function: its arguments, and what its exceptions say, in a thread as in a worker process."""

from __future__ import annotations

import inspect
import os
import traceback
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from orchestrator.tools.context import ToolError
from orchestrator.tools.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.tools.context import ToolContext

_OURS = str(Path(__file__).parent.parent) + os.sep
_FRAMES = 8


def arguments(function: Callable[..., Any], args: dict[str, Any], context: ToolContext) -> dict[str, Any] | str:
    """The keyword arguments of the call, or what is wrong with them."""
    if inspect.isfunction(function):
        needed, known = _names(function)
        if needed <= args.keys() <= known and "context" not in known:
            return args
    try:
        signature = _signature(function) if inspect.isfunction(function) else inspect.signature(function)
    except (TypeError, ValueError):
        return args  # a builtin that does not tell
    if "context" in signature.parameters and "context" not in args:
        args["context"] = context
    try:
        signature.bind(**args)
    except TypeError as error:
        return str(error)
    return args


@lru_cache(256)
def _names(function: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The arguments that a plain function needs, and those that it knows, by name alone; nothing of one that takes what
    has no name."""
    found = _signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(each.kind not in named for each in found):
        return frozenset({""}), frozenset()
    needed = frozenset(each.name for each in found if each.default is inspect.Parameter.empty)
    return needed, frozenset(each.name for each in found)


@lru_cache(256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Of a function that may be called thousands of times in one run."""
    return inspect.signature(function)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` gives something to be awaited on the loop."""
    flags = function.__code__.co_flags if type(function) is FunctionType else 0
    if flags & inspect.CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def result(ref: str, value: Any) -> tuple[Any, str | None]:
    """What a function returned, as JSON, or why it is none."""
    try:
        return plain(value), None
    except Exception as error:  # noqa: BLE001  objects of the user's are asked for their contents
        return None, f"{ref} returned what is not JSON: {sentence(error)}"


def problem(error: BaseException, *, no_effect: bool = False, when: str = "") -> dict[str, Any]:
    """What an exception of the user's says: ``{"code", "message", "status", "detail", "no_effect"}``, not redacted."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames[-_FRAMES:]]
    detail: Any = {"traceback": lines}
    if not isinstance(error, ToolError):
        message = when + sentence(error)
        return {"code": "tool_error", "message": message, "status": None, "detail": detail, "no_effect": no_effect}
    if error.detail is not None:
        try:
            detail = plain(error.detail)
        except Exception as bad:  # noqa: BLE001  objects of the user's are asked for their contents
            detail = {"traceback": lines, "problem": f"detail is not JSON: {sentence(bad)}"}
    return {
        "code": error.code,
        "message": error.message,
        "status": error.status,
        "detail": detail,
        "no_effect": error.no_effect or no_effect,
    }


def sentence(error: BaseException) -> str:
    """An exception in a line: its class and what it says."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  a user's exception may fail even here
        text = ""
    if isinstance(error, BaseExceptionGroup):
        text += " " + "; ".join(sentence(inner) for inner in error.exceptions[:3])
    return f"{name}: {text}" if text else name

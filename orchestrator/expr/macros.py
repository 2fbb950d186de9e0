"""The macros: a body evaluated for each item, with the item in ``State.vars``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.expr.runtime import ABSENT, Run, State, sort_key, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.expr.nodes import Expr, Macro

Loop: TypeAlias = "Callable[[State, list[Any], int, Run, Run | None, Macro], Any]"
"""Takes the items, the place of the variable, the body, the ``where`` of a map, and the node."""


def _truth(value: Any, body: Expr, name: str) -> Any:
    if type(value) is bool or value is ABSENT:
        return value
    raise wrong(f"the condition of {name}", value).at(body)


def _map_items(state: State, items: list[Any], level: int, body: Run, where: Run | None, expr: Macro) -> Any:
    variables, made = state.vars, list[Any]()
    for item in items:
        variables[level] = item
        if where is not None:
            chosen = _truth(where(state), expr.body if expr.where is None else expr.where, "map")
            if chosen is ABSENT:
                return ABSENT
            if not chosen:
                continue
        value = body(state)
        if value is ABSENT:
            return ABSENT
        made.append(value)
    return state.made(made)


def _filter_items(state: State, items: list[Any], level: int, body: Run, _: Run | None, expr: Macro) -> Any:
    variables, made = state.vars, list[Any]()
    for item in items:
        variables[level] = item
        chosen = _truth(body(state), expr.body, "filter")
        if chosen is ABSENT:
            return ABSENT
        if chosen:
            made.append(item)
    return made


def _all_items(state: State, items: list[Any], level: int, body: Run, _: Run | None, expr: Macro) -> Any:
    return _search(state, items, level, body, expr, decided=False)


def _exists_item(state: State, items: list[Any], level: int, body: Run, _: Run | None, expr: Macro) -> Any:
    return _search(state, items, level, body, expr, decided=True)


def _search(state: State, items: list[Any], level: int, body: Run, expr: Macro, *, decided: bool) -> Any:
    variables = state.vars
    for item in items:
        variables[level] = item
        value = _truth(body(state), expr.body, expr.name)
        if value is ABSENT:
            return ABSENT
        if value is decided:
            return decided
    return not decided


def _exists_one_item(state: State, items: list[Any], level: int, body: Run, _: Run | None, expr: Macro) -> Any:
    kept = _filter_items(state, items, level, body, None, expr)
    return ABSENT if kept is ABSENT else len(kept) == 1


def _sort_items(state: State, items: list[Any], level: int, body: Run, _: Run | None, expr: Macro) -> Any:
    keys = _map_items(state, items, level, body, None, expr)
    if keys is ABSENT:
        return ABSENT
    sort_key(keys, "sort_by")
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


LOOPS: Final[Mapping[str, Loop]] = {
    "map": _map_items,
    "filter": _filter_items,
    "all": _all_items,
    "exists": _exists_item,
    "exists_one": _exists_one_item,
    "sort_by": _sort_items,
}
"""The macros by name."""

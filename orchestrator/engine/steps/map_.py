"""``map``: one activation of ``do`` per item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator.engine.activation import Act, item_path, keys_of
from orchestrator.engine.scope import Scope
from orchestrator.engine.steps.common import Base, Skip, Wrong, expanded_of, fails_scope
from orchestrator.expr import ABSENT, parse
from orchestrator.expr.evaluate import evaluate
from orchestrator.frozen import field, slotted

if TYPE_CHECKING:
    from orchestrator.engine.decide import Decider
    from orchestrator.graph.nodes import MapConfig
    from orchestrator.journal.state import StepState


@slotted
class _Items:
    """What a map keeps while it is open. ``next`` is the index of the first item that has not begun; ``waits`` are
    those of ``live`` that wait for a person."""

    values: list[Any]
    concurrency: int
    keys: list[Any] = field(default_factory=list[Any])
    next: int = 0
    waits: set[str] = field(default_factory=set[str])
    live: dict[str, Act] = field(default_factory=dict[str, Any])
    failed: bool = False


class Map(Base):
    """The keys of its items are recorded before anything acts on them; its items are a function of what came before."""

    timed: ClassVar[bool] = True

    def descends(self, step: StepState | None) -> bool:
        return step is not None and step.expanded is not None

    def begin(self, decider: Decider, act: Act, step: StepState | None) -> None:
        config = cast("MapConfig", act.node.config)
        found = decider.evaluate(act, config.over, "map")
        if found is ABSENT:
            raise Skip
        if not isinstance(found, list):
            raise Wrong("expression", "`map` does not give a list")
        act.data = _Items(cast("list[Any]", found), decider.limit(act, config.concurrency, "concurrency"))
        if step is not None and step.expanded is not None:
            act.data.keys = keys_of(step.expanded)

    def progress(self, decider: Decider, act: Act, step: StepState | None) -> None:
        items = cast("_Items", act.data)
        config = cast("MapConfig", act.node.config)
        items.keys = items.keys or keys_of(expanded_of(step))
        while (
            items.next < len(items.keys)
            and len(items.live) - len(items.waits) < items.concurrency
            and not items.failed
            and act.stop is None
        ):
            index = items.next
            items.next += 1
            path = item_path(act.path, items.keys[index])
            known = act.state.steps.get(path)
            if known is not None and known.ended and not (config.join.mode == "all" and failed_unhandled(known)):
                # Taken up without an activation: a resume costs what is not done. One that failed the map is, in its
                # turn: it kept its place, and what was under way then is taken down.
                continue
            scope = Scope(act.scope, {config.as_: items.values[index], "index": index})
            items.live[path] = decider.child(act, config.do, path, role="item", scope=scope)
        if not items.live:
            decider.look_later(act)

    def decide(self, decider: Decider, act: Act, step: StepState | None) -> None:
        items = cast("_Items", act.data)
        config = cast("MapConfig", act.node.config)
        if step is None or step.expanded is None:
            decider.emit("expanded", act, _expand(decider, act, items.values, config))
        elif not items.live:
            _finish(decider, act, items, config)

    def child_ended(self, decider: Decider, act: Act, child: Act) -> None:
        items = cast("_Items", act.data)
        items.live.pop(child.path, None)
        items.waits.discard(child.path)
        config = cast("MapConfig", act.node.config)
        if config.join.mode == "all" and not items.failed and fails_scope(child):
            _stop_others(decider, items)
        if act.stop is None:
            decider.look_again(act)

    def child_waits(self, decider: Decider, act: Act, child: Act, *, waits: bool) -> None:
        """An item that waits takes no place; one that goes on takes its own again, be there room or not."""
        items = cast("_Items", act.data)
        if not waits:
            items.waits.discard(child.path)
        elif child.path in items.live and child.path not in items.waits:
            items.waits.add(child.path)
            decider.look_again(act)

    def live(self, act: Act) -> list[Act]:
        return list(act.data.live.values()) if isinstance(act.data, _Items) else []

    def stop(self, decider: Decider, act: Act) -> None:
        if isinstance(act.data, _Items):
            _stop_others(decider, act.data)

    def busy(self, act: Act) -> bool:
        return isinstance(act.data, _Items) and bool(act.data.live)


def _stop_others(decider: Decider, items: _Items) -> None:
    """No item begins any more, and those under way are taken down."""
    items.failed = True
    for child in list(items.live.values()):
        decider.stop(child, {})


def _expand(decider: Decider, act: Act, values: list[Any], config: MapConfig) -> dict[str, Any]:
    """How many items there are, and their keys where the map names one."""
    most = decider.limit(act, config.max_items, "max_items")
    if len(values) > most:
        raise Wrong("too_many_items", f"{len(values)} items, at most {most} are allowed (max_items)")
    if config.key is None:
        return {"count": len(values)}
    expr = parse(config.key)
    keys: list[Any] = []
    seen: set[str] = set()
    for index, value in enumerate(values):
        env = {**act.scope.env, config.as_: value, "index": index}
        key = evaluate(expr, env, now=act.ready_at, seed=decider.seed(act.path, f"key{index}"))
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise Wrong("expression", f"the key of item {index} is neither text nor a whole number")
        if str(key) in seen:
            raise Wrong("duplicate_key", f"two items have the key {key!r}")
        seen.add(str(key))
        keys.append(key)
    return {"count": len(values), "keys": keys}


def failed_unhandled(step: StepState) -> bool:
    """True where an item's end fails a map that wants all of them."""
    return step.status == "failed" and step.handled != "continue"


def _finish(decider: Decider, act: Act, items: _Items, config: MapConfig) -> None:
    found = [act.state.steps.get(item_path(act.path, key)) for key in items.keys]
    failed = [step for step in found if step is not None and failed_unhandled(step)]
    if failed and config.join.mode == "all":
        first = min(failed, key=lambda step: step.ended_seq)
        error = dict(first.error or {})
        decider.fail(act, error.pop("code", "failed"), error.pop("message", ""), **({"step": first.path} | error))
        return
    good = sum(step is not None and step.status == "done" for step in found)
    if config.join.min_success is not None:
        least = decider.limit(act, config.join.min_success, "min_success")
        if good < least:
            decider.fail(act, "too_few", f"{good} items ended well, at least {least} must")
            return
    decider.finish(act, [step.output if step is not None and step.status == "done" else None for step in found])

"""What a plan may not have, found and taken out before anything of it is read.

A plan is data of a model's. What it names may lead to the agent's own tools, models and delegates alone: no file of
this machine, no tool, code or server in place, no folder to work in, no conversation of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.errors import did_you_mean
from orchestrator.frozen import field, frozen, slotted
from orchestrator.spec.fields import OPENING
from orchestrator.spec.steps import STEP_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

INNER: Final = ("do", "default", "on_error")
SEVERAL: Final = ("steps", "finally", "cases")
TEXTS: Final = ("prompt", "instructions", "message")
OUTSIDE: Final[Mapping[str, str]] = {
    "dir": "its tools work where they do anyway",
    "session": "it has conversations of its own",
    "resources": "where it runs is not its to say",
    "undo": "what it did is not taken back",
}
NOT_ITS_OWN: Final[Mapping[str, str]] = {
    "delegates": "a step of the plan can be an agent",
    "handoffs": "a step of the plan can be an agent",
    "memory": "",
    "skills": "",
    "share": "",
    "hooks": "",
}
"""Fields that an agent in a plan does not have."""

SUGGESTIONS: Final = 20
"""So often a name is looked for that was meant: a model may write any number of them."""


@frozen
class Policy:
    """``kinds`` of steps that a plan may have, and whether its agents may make others."""

    kinds: frozenset[str]
    spawn: bool = False

    @property
    def listed(self) -> str:
        """The kinds, in words."""
        return ", ".join(kind for kind in STEP_KINDS if kind in self.kinds)


def allowed(data: dict[str, Any], policy: Policy) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The plan without what it may not have, and what that is: ``{code, message, at, hint?}`` each."""
    search = _Search(policy)
    return search.several(data, ""), search.found


@slotted
class _Search:
    policy: Policy
    found: list[dict[str, str]] = field(default_factory=list[Any])

    def say(self, message: str, at: str, hint: str = "", *, code: str = "E408") -> None:
        problem = {"code": code, "message": message, "at": at}
        self.found.append(problem | {"hint": hint} if hint else problem)

    def several(self, data: dict[str, Any], at: str) -> dict[str, Any]:
        """A mapping with steps, or with mappings of steps."""
        out: dict[str, Any] = {}
        for key, item in data.items():
            where = f"{at}.{key}" if at else key
            if key in SEVERAL and isinstance(item, dict):
                steps = cast("dict[str, Any]", item)
                out[key] = {name: self.step(step, f"{where}.{name}") for name, step in steps.items()}
            elif key in INNER:
                out[key] = self.step(item, where)
            else:
                out[key] = item
        return out

    def step(self, data: Any, at: str) -> Any:
        if not isinstance(data, dict):
            return data
        step = cast("dict[str, Any]", data)
        kinds = [kind for kind in STEP_KINDS if kind in step]
        if not kinds:
            close = self.meant(step)
            where = f"{at}.{close[0]}" if close else at
            hint = f"did you mean `{close[1]}`?" if close else f"exactly one of {self.policy.listed}"
            self.say("a step of the plan has no kind", where, hint, code="E109")
            return {"set": {}}
        if len(kinds) == 1 and kinds[0] not in self.policy.kinds:
            hint = f"it may have: {self.policy.listed}"
            self.say(f"a plan of this agent has no `{kinds[0]}` steps", f"{at}.{kinds[0]}", hint)
            return {"set": {}}
        if isinstance(step.get("tool"), dict):
            self.say("a plan calls tools by their names, and defines none", f"{at}.tool")
            return {"set": {}}
        for key, hint in OUTSIDE.items():
            if key in step:
                self.say(f"a step of a plan has no `{key}`", f"{at}.{key}", hint)
        kept = {key: item for key, item in step.items() if key not in OUTSIDE}
        if isinstance(kept.get("agent"), dict):
            kept["agent"] = self.agent(kept["agent"], f"{at}.agent")
        if isinstance(kept.get("ask"), dict):
            kept["ask"] = self.texts(kept["ask"], f"{at}.ask")
        return self.several(self.texts(kept, at), at)

    def meant(self, step: dict[str, Any]) -> tuple[str, str] | None:
        """The first field that looks like a kind, and that kind."""
        for name in list(step)[:SUGGESTIONS] if len(self.found) < SUGGESTIONS else ():
            close = did_you_mean(name, sorted(self.policy.kinds))
            if close:
                return name, close
        return None

    def agent(self, agent: dict[str, Any], at: str) -> dict[str, Any]:
        lacking = (
            dict(NOT_ITS_OWN) if self.policy.spawn else {**NOT_ITS_OWN, "spawn": "the agent that plans may not either"}
        )
        for key, hint in lacking.items():
            if key in agent:
                self.say(f"an agent in a plan has no `{key}`", f"{at}.{key}", hint)
        kept = {key: item for key, item in agent.items() if key not in lacking}
        if isinstance(kept.get("plan"), dict):
            kept["plan"] = self.plan(kept["plan"], f"{at}.plan")
        return self.texts(kept, at)

    def plan(self, plan: dict[str, Any], at: str) -> dict[str, Any]:
        """The right to plan again: no further than the one that it comes from."""
        given: Any = plan.get("kinds")
        if given is not None and not isinstance(given, list):
            return plan
        if given is None:
            return {**plan, "kinds": [kind for kind in STEP_KINDS if kind in self.policy.kinds]}
        kinds = cast("list[Any]", given)
        for index, kind in enumerate(kinds):
            where = f"{at}.kinds[{index}]"
            if kind in STEP_KINDS and kind not in self.policy.kinds:
                self.say(f"the agent that plans may have no `{kind}` steps either", where)
            elif isinstance(kind, str) and kind not in STEP_KINDS:
                close = did_you_mean(kind, sorted(self.policy.kinds)) if len(self.found) < SUGGESTIONS else None
                hint = f"did you mean `{close}`?" if close else f"known: {self.policy.listed}"
                self.say(f"unknown kind of step `{kind[:80]}`", where, hint, code="E107")
        return {**plan, "kinds": [kind for kind in kinds if not isinstance(kind, str) or kind in self.policy.kinds]}

    def texts(self, data: dict[str, Any], at: str) -> dict[str, Any]:
        """The mapping, with no file of this machine in its texts."""
        out = dict(data)
        for key in TEXTS:
            if isinstance(out.get(key), list):
                out[key] = [self.part(part, f"{at}.{key}[{index}]") for index, part in enumerate(out[key])]
        return out

    def part(self, part: Any, at: str) -> Any:
        if not isinstance(part, dict):
            return part
        for key in ("file", "template"):
            named = cast("dict[str, Any]", part).get(key)
            if isinstance(named, str) and not (key == "file" and OPENING in named):
                self.say("a text of a plan reads no file of this machine", f"{at}.{key}")
                return ""
        return cast("dict[str, Any]", part)

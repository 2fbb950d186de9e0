"""``remember`` and ``recall``: facts over runs, in the store. What was recalled is recorded, not looked up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.agents.keeping import FACT_BYTES, best, recalled
from orchestrator.engine.activation import Intent
from orchestrator.engine.steps.common import Wrong
from orchestrator.engine.steps.effect import Effects
from orchestrator.engine.steps.keeping import arguments_of, given_to
from orchestrator.journal.errors import BadData, StoreError
from orchestrator.journal.store import Fact
from orchestrator.jsonish import hash_of
from orchestrator.tools.protocol import Done, Failed

if TYPE_CHECKING:
    from orchestrator.engine.activation import Act
    from orchestrator.engine.decide import Decider
    from orchestrator.journal.store import Store
    from orchestrator.tools.protocol import Outcome

PAGE = 500


class Remember(Effects):
    """Keeps a fact. Sent again, it writes the same row: its time is that of the turn that asked for it."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        args = arguments_of(act)
        size = len(args["text"].encode())
        if size > FACT_BYTES:
            raise Wrong("too_large", f"the text takes {size} bytes, and {FACT_BYTES} is the most")
        asked = {"scope": given_to(act, "scope"), "key": args["key"], "text": args["text"]}
        request = asked | {"at": act.ready_at, "by_run": decider.run.run_id}
        return _intent(act, "remember", asked, request)


class Recall(Effects):
    """Looks facts up."""

    def intent(self, decider: Decider, act: Act) -> Intent:
        del decider
        asked = {"scope": given_to(act, "scope"), "query": arguments_of(act)["query"]}
        return _intent(act, "recall", asked, asked)


def _intent(act: Act, name: str, asked: dict[str, Any], request: dict[str, Any]) -> Intent:
    return Intent(
        act=act,
        kind="builtin",
        attempt=1,
        logical=1,
        hash=hash_of(asked),
        effect="idempotent" if name == "remember" else "read",
        request=request,
        tool=name,
    )


async def perform(store: Store, intent: Intent) -> Outcome:
    """One call, of either kind."""
    try:
        if intent.tool == "remember":
            await store.remember(Fact(**intent.request))
            return Done({"key": intent.request["key"]})
        return Done(recalled(await _found(store, **intent.request)))
    except BadData as error:
        return Failed("invalid_input", error.problem)
    except StoreError as error:
        return Failed("unavailable", str(error))


async def _found(store: Store, *, scope: str, query: str) -> list[Fact]:
    """The best facts of a scope, page by page."""
    found: list[Fact] = []
    after = ""
    while page := await store.facts(scope, after=after, limit=PAGE):
        found = best([*found, *page], query)
        after = page[-1].key
    return found

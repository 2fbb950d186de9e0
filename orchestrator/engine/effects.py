"""Performing: from an intent that is journaled to the record of its end."""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio

from orchestrator.agents.attachments import files_of, with_bytes
from orchestrator.agents.conversation import last_text
from orchestrator.agents.messages import FRAME_TOKENS, ModelRequest, Usage, block_problem, without_thoughts
from orchestrator.agents.turns import LAST, LAST_SIZE
from orchestrator.engine import hooking, outcomes, planning
from orchestrator.engine.planning import Planner, no_planner
from orchestrator.engine.steps import memory
from orchestrator.engine.steps.agent import asked_of, talk_of
from orchestrator.frozen import frozen
from orchestrator.graph.nodes import CallConfig
from orchestrator.journal import points
from orchestrator.jsonish import clean
from orchestrator.providers.protocol import ModelContext, ModelError
from orchestrator.tools.protocol import CallContext, Done, Failed, Lost, hold_nothing, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.agents.messages import Message
    from orchestrator.engine.activation import Intent
    from orchestrator.engine.decide import Decider
    from orchestrator.engine.steps.agent import Talk
    from orchestrator.graph.nodes import HooksDef
    from orchestrator.journal.records import Draft
    from orchestrator.journal.store import Store
    from orchestrator.providers.protocol import Provider
    from orchestrator.tools.protocol import Held, Outcome, Performer


STEP_OUTPUT = 16 * 1024 * 1024
"""Bytes that the result of a step may have."""


@frozen(kw_only=True, slots=False)
class Services:
    """What effects need from outside.

    ``reveal`` puts the values of secrets in place of their markers, ``redact`` takes them out again.
    ``reserve(settings, bytes)`` is the worst case of a model call and ``cost(settings, usage)`` what one cost, in
    micro-dollars, None where no price is known. ``keep(hash, body)`` makes sure that a stored file has a copy on
    disk, in ``files_folder``. ``no_sandbox()`` says why there is no sandbox here, None where there is one.
    ``plan`` compiles what agents plan.
    """

    provider: Callable[[str], Provider]
    performer: Callable[[str], Performer]
    reveal: Callable[[Any], Any]
    redact: Callable[[Any], Any]
    reserve: Callable[[Mapping[str, Any], int], int | None]
    cost: Callable[[Mapping[str, Any], Usage], int | None]
    files_folder: Path
    no_sandbox: Callable[[], str | None] = lambda: None
    plan: Planner = no_planner


class Effects:
    """Performs the effects of one run."""

    def __init__(
        self,
        decider: Decider,
        store: Store,
        services: Services,
        *,
        emit: Callable[[str, str], None] | None,
        hold: Callable[[str, Callable[[], Held]], Held] = hold_nothing,
    ) -> None:
        self._decider = decider
        self._store = store
        self._services = services
        self._emit = emit
        self._hold = hold
        self._folder = Path(decider.state.started["folder"])
        said = decider.state.started["files"]
        self._files = folder_of_files(said, services.files_folder)
        self._moved = self._files != Path(said)
        self._said_file = re.compile(re.escape(said) + r"/([0-9a-f]{64})(?![0-9a-f])")
        self._log = logging.getLogger("orchestrator.run")

    def reservation(self, intent: Intent, *, after: bool = False) -> dict[str, int | None]:
        """What ``started`` of a model call reserves: its worst case. ``after``: that of a last turn that follows it."""
        settings = _settings(intent)
        size = asked_of(self._decider, intent.act).size + (LAST_SIZE if intent.last or after else 0)
        if after:
            # Its reply will be read again, in tokens; what the tools will say is not known yet.
            size += int(settings.get("max_tokens", 4096))
        return {
            "usd": self._services.reserve(settings, size),
            "tokens": size + FRAME_TOKENS + int(settings.get("max_tokens", 4096)),
        }

    def unguarded(self, intent: Intent) -> str | None:
        """Why a call that prefers a sandbox has none."""
        config = intent.act.node.config
        preferred = isinstance(config, CallConfig) and config.tool.sandbox == "preferred"
        return self._services.no_sandbox() if preferred else None

    async def perform(self, intent: Intent, now: Callable[[], int]) -> Draft:
        """Perform one attempt and say how it ended; raises only cancellation. The attempt's timeout is kept here."""
        step = self._decider.state.steps[intent.path]
        attempts = self._decider.attempts_of(intent.act)
        points.at("before_effect")
        if intent.kind == "model":
            draft = await self._model(intent, now, attempts)
        elif intent.kind == "plan":
            draft = await planning.perform(self._decider, intent, self._services.plan, now)
        else:
            outcome, kept = await self._tool(intent)
            draft = outcomes.ended(intent, outcome, step=step, attempts=attempts, at=now(), kept=kept)
        points.at("after_effect")
        return draft

    async def _tool(self, intent: Intent) -> tuple[Outcome, dict[str, Any]]:
        if intent.timeout is None:
            outcome = await self._attempt(intent, math.inf)
        else:
            seconds = intent.timeout / 1_000_000
            outcome = Lost("timeout", f"no result within {seconds} s")
            with anyio.move_on_after(seconds) as scope:
                outcome = await self._attempt(intent, scope.deadline)
        if isinstance(outcome, Done) and outcome.overflow is not None and intent.act.role != "tool":
            # A model is shown the head and may read on; a step that worked on a part without a word would be wrong.
            outcome = Failed("too_large", f"the result is over {STEP_OUTPUT} bytes; keep it as a file (`files`)")
        return await self._kept(outcome)

    async def _attempt(self, intent: Intent, deadline: float) -> Outcome:
        try:
            return await (self._builtin(intent) if _from_store(intent) else self._call(intent, deadline))
        except Exception as error:  # noqa: BLE001 - the attempt boundary: whatever a tool raises is its result
            return Failed("tool_error", self._services.redact(f"{type(error).__name__}: {error}"))

    async def _call(self, intent: Intent, deadline: float) -> Outcome:
        config = intent.act.node.config
        kind: str = config.tool.kind  # pyright: ignore[reportAttributeAccessIssue]
        request = self._placed(dict(intent.request))
        folder = self._folder
        if "dir" in request:
            folder = folder / str(request.pop("dir"))
            folder.mkdir(parents=True, exist_ok=True)
        request["folder"] = str(folder)
        if "root" in request:
            request["root"] = str(folder / str(request["root"]))
        if config.tool.sandbox != "none":  # pyright: ignore[reportAttributeAccessIssue]
            request["sandbox"] = config.tool.sandbox  # pyright: ignore[reportAttributeAccessIssue]
        # A step's result is data for other steps; only what a model reads is cut to what it may cost.
        most: int = config.tool.max_output if intent.act.role == "tool" else STEP_OUTPUT  # pyright: ignore[reportAttributeAccessIssue]
        context = self._context(intent, deadline=deadline, folder=folder, max_output=most)
        outcome = await self._services.performer(kind)(request, context)
        if isinstance(outcome, Done) and outcome.overflow is None and intent.kind == "tool":
            outcome = await self._after_tool(intent, outcome, context)
        return outcome

    async def _after_tool(self, intent: Intent, outcome: Done, context: CallContext) -> Outcome:
        """The outcome as the hooks leave it; of a hook itself, what it changed."""
        act = intent.act
        if act.kind == "hook":
            return hooking.told(intent.request["point"], intent.request["args"]["event"], outcome)
        return await hooking.after_tool(self._decider, intent, outcome, self._call_hook(context))

    def _call_hook(self, context: CallContext) -> hooking.Caller:
        async def call(hooks: HooksDef, ref: str, event: dict[str, Any]) -> Outcome:
            request = {"ref": ref, "search": list(hooks.search), "args": {"event": event}, "folder": str(self._folder)}
            return await self._services.performer("python")(request, context)

        return call

    def _context(self, intent: Intent, *, deadline: float, folder: Path, max_output: int) -> CallContext:
        emit = self._emit
        return CallContext(
            run_id=self._decider.run.run_id,
            path=intent.path,
            attempt=intent.attempt,
            idempotency_key=intent.key,
            effect=intent.effect,
            deadline=None if deadline == float("inf") else deadline,
            folder=folder,
            max_output=max_output,
            reveal=self._services.reveal,
            redact=self._services.redact,
            log=self._log,
            stored=lambda name: self._files / name,
            emit=silent if emit is None else lambda text: emit(intent.path, text),
            hold=self._hold,
        )

    def _placed(self, value: Any) -> Any:
        """The value with the paths of stored files as they are here; the journal keeps those of the first machine."""
        if not self._moved:
            return value
        match value:
            case str():
                return self._said_file.sub(lambda found: f"{self._files}/{found[1]}", value)
            case dict():
                return {name: self._placed(item) for name, item in cast("dict[str, Any]", value).items()}
            case list():
                return [self._placed(item) for item in cast("list[Any]", value)]
            case _:
                return value

    async def _builtin(self, intent: Intent) -> Outcome:
        """``read_result``, ``remember`` and ``recall``."""
        if intent.tool in ("remember", "recall"):
            return await memory.perform(self._store, intent)
        blob = intent.request.get("blob")
        text: str = intent.request["text"] if blob is None else (await self._store.get_blob(blob)).decode()
        offset, limit = int(intent.request["offset"]), int(intent.request["limit"]) or 20_000
        return Done(text[max(offset, 0) : max(offset, 0) + limit])

    async def _kept(self, outcome: Outcome) -> tuple[Outcome, dict[str, Any]]:
        """Redact a result, and store what belongs beside it."""
        redact = self._services.redact
        if not isinstance(outcome, Done):
            return _redacted(outcome, redact), {}
        if not outcome.settled:
            try:
                outcome = Done(redact(clean(outcome.output)), outcome.files, outcome.overflow)
            except (TypeError, ValueError) as error:
                return Failed("invalid_output", f"the result is not JSON: {error}"), {}
        kept: dict[str, Any] = {}
        if outcome.overflow is not None:
            text: str = redact(outcome.overflow)
            kept["overflow"] = (await self._store.put_blobs([text.encode("utf-8", "replace")]))[0]
            kept["size"] = len(text)
        if outcome.files:
            hashes = await self._store.put_blobs([found.body for found in outcome.files.values()])
            kept["files"] = {
                name: {"$file": digest, "name": found.name, "size": len(found.body), "media_type": found.media_type}
                for (name, found), digest in zip(outcome.files.items(), hashes, strict=True)
            }
            for found, digest in zip(outcome.files.values(), hashes, strict=True):
                await anyio.to_thread.run_sync(keep_copy, self._files, digest, found.body)
        return outcome, kept

    async def _model(self, intent: Intent, now: Callable[[], int], attempts: int) -> Draft:
        talk = talk_of(intent.act)
        path = intent.act.path
        services = self._services
        step = self._decider.state.steps[path]
        settings = _settings(intent)
        request = await self._with_files(self._request(intent, talk), talk)
        emit = self._emit
        context = ModelContext(reveal=services.reveal, emit=silent if emit is None else lambda text: emit(path, text))
        seconds = None if intent.timeout is None else intent.timeout / 1_000_000
        error = ModelError("timeout", f"no reply within {seconds} s")
        with anyio.move_on_after(seconds) as scope:
            try:
                reply = await services.provider(str(settings.get("provider"))).call(request, context)
                if intent.act.kind == "turn":
                    around = self._context(intent, deadline=scope.deadline, folder=self._folder, max_output=STEP_OUTPUT)
                    reply = await hooking.after_model(self._decider, intent, reply, self._call_hook(around))
                usage = reply.usage
                cost = None if usage is None else services.cost(settings, usage)
                return outcomes.replied(intent, _clean_reply(reply, services.redact), cost=cost)
            except ModelError as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001 - the attempt boundary: a provider's bug is this attempt's end
                error = ModelError("invalid_reply", f"{type(raised).__name__}: {raised}")
        used = error.usage
        # No usage is not no cost: only what says that nothing was billed is free, and what says nothing keeps its
        # reservation.
        free = not error.sent or used == Usage()
        cost = 0 if free else None if used is None else services.cost(settings, used)
        outcome = Failed(
            error.code,
            services.redact(error.message),
            status=error.status,
            detail=services.redact(error.detail) or None,
            retry_after=error.retry_after,
        )
        billed = outcomes.bill(used, cost)
        return outcomes.failed(intent, outcome, step=step, attempts=attempts, at=now(), billed=billed)

    async def _with_files(self, request: ModelRequest, talk: Talk) -> ModelRequest:
        """The request with the bytes of its attachments."""
        if not talk.conversation.files:
            return request
        bodies = {name: await self._store.get_blob(name) for name in files_of(request.messages)}
        return replace(
            request, messages=await anyio.to_thread.run_sync(with_bytes, request.messages, bodies.__getitem__)
        )

    def _request(self, intent: Intent, talk: Talk) -> ModelRequest:
        act = intent.act.owner
        config = act.node.config  # pyright: ignore[reportAttributeAccessIssue]
        talked = talk.conversation
        asked = asked_of(self._decider, intent.act)
        scope = {
            "agent": config.agent.name,  # pyright: ignore[reportAttributeAccessIssue]
            "turn": talked.turn + 1,
            "prompt": talk.prompt,
            "last": talked.last if asked.messages is talked.messages else last_text(asked.messages),
            "results": talked.results,
            "inputs": self._decider.state.started["inputs"],
        }
        messages = _messages(intent, talk, asked.messages)
        if intent.last:
            scope["last"] = LAST
            messages = [*messages, {"role": "user", "content": [{"type": "text", "text": LAST}]}]
        return ModelRequest(
            settings=_settings(intent),
            system=asked.system,
            messages=messages,
            tools=[offer.spec for offer in talk.offers.values()],
            output_schema=talk.output,
            may_call=not intent.last,
            scope=scope,
        )


def _settings(intent: Intent) -> dict[str, Any]:
    """Those of the model that is called."""
    return intent.model.settings if intent.model is not None else {}


def _messages(intent: Intent, talk: Talk, messages: list[Message]) -> list[Message]:
    """The conversation as the model that is called may read it: what another one thought is not for it, be it of the
    same fallback or of an agent that passed control on.
    """
    index = 0 if intent.model is None else intent.model.index
    foreign = [other != index for other in talk.answered]
    return without_thoughts(messages, foreign) if any(foreign) else messages


def _clean_reply(reply: Any, redact: Callable[[Any], Any]) -> Any:
    """The blocks as they came, but for text that no store can hold, and for secrets. Raises ModelError where one
    cannot be read: recorded, it could be read by nobody ever."""
    for problem in filter(None, map(block_problem, reply.content)):
        raise ModelError("invalid_reply", f"the reply holds {problem}", usage=reply.usage)
    said = {name: redact(getattr(reply, name)) for name in ("detail", "model", "raw_stop", "request_id")}
    return replace(reply, content=redact(clean(reply.content)), **said)


def _from_store(intent: Intent) -> bool:
    """Whether the store alone has the answer."""
    return intent.kind == "builtin" and intent.act.kind != "list_tools"


def _redacted(outcome: Failed | Lost, redact: Callable[[Any], Any]) -> Failed | Lost:
    if isinstance(outcome, Lost):
        return replace(outcome, message=redact(outcome.message))
    return replace(outcome, message=redact(outcome.message), detail=redact(clean(outcome.detail)))


def folder_of_files(said: str, own: Path) -> Path:
    """Where a run's stored files have their copies: where it says, or in this machine's ``own`` folder, where there is
    no such place here and none can be made.
    """
    place = Path(said)
    while not os.path.exists(place):  # noqa: PTH110  a path that may not be looked at is not there
        place = place.parent
    return Path(said) if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else own


def keep_copy(folder: Path, digest: str, body: bytes) -> None:
    """Write a stored file's copy, once."""
    target = folder / digest
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{digest}.part"
        part.write_bytes(body)
        part.replace(target)

"""power-loop: a JSON workflow, whose leaves are agents alone: a step is an agent with a scripted model."""

from __future__ import annotations

import asyncio
import json

from power_loop import AgentLoopConfig, StatefulAgentLoop
from power_loop._vendor.llm_client.interface import LLMResponse, LLMTokenUsage
from power_loop.contracts.tools import ToolDefinition
from power_loop.tools.registry import ToolRegistry
from power_loop.workflow import create_workflow, resume_run

from benchmarks import measure
from benchmarks.measure import NAP, TOOL_RESULT, Steps, crash_point, resumed, timed


class Scripted:
    """Asks for ``calls`` tool calls first, then answers, after ``nap`` seconds."""

    def __init__(self, steps=None, *, nap=0.0, calls=0):
        self.steps, self.nap, self.calls, self.k = steps, nap, calls, 0

    async def complete(self, request, **_):
        if self.steps:
            self.steps.tick()
        if self.nap:
            await asyncio.sleep(self.nap)
        self.k += 1
        usage = LLMTokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        if self.k <= self.calls:
            asked = {"name": "look", "arguments": json.dumps({"q": str(self.k)})}
            call = {"id": f"c{self.k}", "type": "function", "function": asked}
            return LLMResponse(raw_text="", content_text="", tool_calls=[call], token_usage=usage)
        text = json.dumps({"i": self.k})
        return LLMResponse(raw_text=text, content_text=text, token_usage=usage)

    async def close(self):
        pass


def leaf(i):
    return {"type": "agent", "id": f"s{i}", "spec": {"name": "s", "system_prompt": "p", "tools": []}, "input": str(i)}


def sequence(n):
    return {"name": "w", "input": "x", "root": {"type": "sequence", "steps": [leaf(i) for i in range(n)]}}


def parallel(n):
    branches = [leaf(i) for i in range(n)]
    return {"name": "w", "input": "x", "root": {"type": "parallel", "branches": branches, "max_concurrency": n}}


async def journaled(loop, spec, note=None):
    parent = await loop.new_session()
    handle = await create_workflow(spec, parent_loop=loop, parent_session_id=parent).start(detached=True)
    if note is not None:
        note.write_text(json.dumps([parent, handle.run_id]))
    await handle.task


def workflow(make, *, nap=0.0, copies=lambda place: 1):
    def run(place):
        async def work():
            out = {}
            loop = StatefulAgentLoop(llm=Scripted(Steps(), nap=nap), dsn=place.sqlite_path or place.store)
            await loop.ensure_store()
            with timed(out):
                await asyncio.gather(*(journaled(loop, make(place.n)) for _ in range(copies(place))))
            await loop.aclose()
            return out

        return asyncio.run(work())

    return run


def turns(place):
    async def look(q):
        return TOOL_RESULT

    async def work():
        out = {}
        tools = ToolRegistry()
        schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
        tools.register(ToolDefinition("look", "Look something up.", schema), look)
        # Its default compactor would summarise the history away, which no other system here does.
        config = AgentLoopConfig(system_prompt="p", max_rounds=place.n + 5, compactor=None)
        loop = StatefulAgentLoop(
            llm=Scripted(calls=place.n), dsn=place.sqlite_path or place.store, config=config, tool_registry=tools
        )
        session = await loop.new_session()
        with timed(out):
            result = await loop.send("go", session_id=session)
        assert result.status == "completed", result
        await loop.aclose()
        return out

    return asyncio.run(work())


def crash(place):
    async def work():
        steps = Steps(crash_point(place.n))
        loop = StatefulAgentLoop(llm=Scripted(steps), dsn=place.sqlite_path or place.store)
        await journaled(loop, sequence(place.n), place.folder / "run.json")

    asyncio.run(work())


def resume(place):
    async def work():
        steps = Steps()
        loop = StatefulAgentLoop(llm=Scripted(steps), dsn=place.sqlite_path or place.store)
        parent, run_id = json.loads((place.folder / "run.json").read_text())
        await loop.ensure_store()
        result = await resume_run(loop, parent, run_id)
        assert result.status == "completed", result
        await loop.aclose()
        return resumed(steps, place.n)

    return asyncio.run(work())


if __name__ == "__main__":
    measure.main(
        {
            "w1": workflow(sequence),
            "w2": turns,
            "w3": workflow(parallel),
            "w4": workflow(lambda n: sequence(10), nap=NAP, copies=lambda place: place.n),
            "hello": workflow(sequence),
            "crash": crash,
            "resume": resume,
        }
    )

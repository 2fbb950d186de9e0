"""Pydantic AI: its agent with nothing kept (it keeps nothing by itself), or through its integration of DBOS."""

from __future__ import annotations

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import UsageLimits

from benchmarks import measure
from benchmarks.measure import TOOL_RESULT, timed

NO_LIMIT = UsageLimits(request_limit=None)


def agent_of(n, *, capabilities=(), wrap=lambda function: function):
    def model(messages, info):
        k = len(messages) // 2 + 1
        if k > n:
            return ModelResponse(parts=[TextPart("ok")])
        return ModelResponse(parts=[ToolCallPart("look", {"q": str(k)}, tool_call_id=f"c{k}")])

    async def look(q: str) -> str:
        """Look something up."""
        return TOOL_RESULT

    agent = Agent(FunctionModel(model), name="bench", capabilities=list(capabilities))
    agent.tool_plain(wrap(look))
    return agent


def plain(n):
    async def work():
        out = {}
        agent = agent_of(n)
        with timed(out):
            got = await agent.run("go", usage_limits=NO_LIMIT)
        assert len(got.all_messages()) == 2 * n + 2
        return out

    return asyncio.run(work())


def durable(place):
    from dbos import DBOS, DBOSConfig
    from pydantic_ai.durable_exec.dbos import DBOSDurability

    agent = agent_of(place.n, capabilities=[DBOSDurability()], wrap=DBOS.step())

    @DBOS.workflow()
    async def flow():
        return len((await agent.run("go", usage_limits=NO_LIMIT)).all_messages())

    path = place.sqlite_path
    DBOS(
        config=DBOSConfig(
            name="bench",
            system_database_url=f"sqlite:///{path}" if path else place.store,
            run_admin_server=False,
            log_level="ERROR",
        )
    )
    DBOS.launch()

    async def work():
        out = {}
        with timed(out):
            assert await flow() == 2 * place.n + 2
        return out

    out = asyncio.run(work())
    DBOS.destroy()
    return out


def agents(place):
    async def work():
        out = {}
        agent = agent_of(0)
        with timed(out):
            await asyncio.gather(*(agent.run(str(i)) for i in range(place.n)))
        return out

    return asyncio.run(work())


if __name__ == "__main__":
    with_dbos = os.environ.get("BENCH_SYSTEM") == "pydantic-ai+dbos"
    measure.main(
        {
            "w2": durable if with_dbos else lambda place: plain(place.n),
            "agents": agents,
            "hello": lambda place: plain(0),
        }
    )

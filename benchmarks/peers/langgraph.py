"""LangGraph: a node in a loop, a fan-out of Sends, an agent of langchain; a checkpoint after each step, waited for
(``durability="sync"``), since its other modes did finished steps again after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks import measure
from benchmarks.measure import NAP, TOOL_RESULT, Steps, crash_point, resumed, timed

STEPS = Steps()


@contextlib.asynccontextmanager
async def saver_of(place):
    path = place.sqlite_path
    made = AsyncSqliteSaver.from_conn_string(path) if path else AsyncPostgresSaver.from_conn_string(place.store)
    async with made as saver:
        await saver.setup()
        yield saver


def config(n, thread="run"):
    return {"configurable": {"thread_id": thread}, "recursion_limit": 3 * n + 10, "max_concurrency": 20_000}


class Loop(TypedDict):
    i: int
    n: int
    nap: float
    last: dict


async def step(state):
    STEPS.tick()
    if state["nap"]:
        await asyncio.sleep(state["nap"])
    return {"i": state["i"] + 1, "last": {"i": state["i"]}}


def loop_of(saver):
    graph = StateGraph(Loop)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: "step" if state["i"] < state["n"] else END)
    return graph.compile(checkpointer=saver)


def start(saver, n, *, thread="run", nap=0.0, resume=False):
    first = None if resume else {"i": 0, "n": n, "nap": nap, "last": {}}
    return loop_of(saver).ainvoke(first, config(n, thread), durability="sync")


class Fan(TypedDict):
    n: int
    out: Annotated[list, operator.add]


async def fan_step(state):
    STEPS.tick()
    return {"out": [{"i": state["i"]}]}


def fan_of(saver):
    graph = StateGraph(Fan)
    graph.add_node("step", fan_step)
    graph.add_conditional_edges(START, lambda state: [Send("step", {"i": i}) for i in range(state["n"])], ["step"])
    return graph.compile(checkpointer=saver)


@tool
async def look(q: str) -> str:
    """Look something up."""
    return TOOL_RESULT


class Scripted(BaseChatModel):
    """Asks for a tool ``n`` times, then says ok."""

    n: int
    k: int = 0

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **kwargs: Any):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.k += 1
        calls = [{"name": "look", "args": {"q": str(self.k)}, "id": f"c{self.k}"}] if self.k <= self.n else []
        said = AIMessage(content="" if calls else "ok", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=said)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        return self._generate(messages)


async def w1(place, saver, out):
    with timed(out):
        await start(saver, place.n)


async def w2(place, saver, out):
    agent = create_agent(Scripted(n=place.n), [look], checkpointer=saver)
    with timed(out):
        got = await agent.ainvoke({"messages": [("user", "go")]}, config(place.n), durability="sync")
    assert len(got["messages"]) == 2 * place.n + 2


async def w3(place, saver, out):
    graph = fan_of(saver)
    with timed(out):
        got = await graph.ainvoke({"n": place.n, "out": []}, config(place.n), durability="sync")
    assert len(got["out"]) == place.n


async def w4(place, saver, out):
    with timed(out):
        await asyncio.gather(*(start(saver, 10, thread=f"run{k}", nap=NAP) for k in range(place.n)))


async def crash(place, saver, out):
    STEPS.crash_after = crash_point(place.n)
    await start(saver, place.n)


async def resume(place, saver, out):
    await start(saver, place.n, resume=True)
    out.update(resumed(STEPS, place.n))


def on_saver(body):
    async def work(place):
        out = {}
        async with saver_of(place) as saver:
            await body(place, saver, out)
        return out

    return lambda place: asyncio.run(work(place))


if __name__ == "__main__":
    bodies = {"w1": w1, "w2": w2, "w3": w3, "w4": w4, "crash": crash, "resume": resume, "hello": w1}
    measure.main({name: on_saver(body) for name, body in bodies.items()})

"""DBOS: a workflow of asynchronous steps, as shipped."""

from __future__ import annotations

import asyncio

from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks import measure
from benchmarks.measure import NAP, Steps, crash_point, resumed, timed

STEPS = Steps()


@DBOS.step()
def plain_step(i):
    STEPS.tick()
    return {"i": i}


@DBOS.step()
async def step(i, nap=0.0):
    STEPS.tick()
    if nap:
        await asyncio.sleep(nap)
    return {"i": i}


@DBOS.workflow()
def sequence(n):
    for i in range(n):
        plain_step(i)
    return n


@DBOS.workflow()
async def naps(n):
    for i in range(n):
        await step(i, NAP)


@DBOS.workflow()
async def fan_out(n):
    return len(await asyncio.gather(*(step(i) for i in range(n))))


def launch(place):
    path = place.sqlite_path
    DBOS(
        config=DBOSConfig(
            name="bench",
            system_database_url=f"sqlite:///{path}" if path else place.store,
            run_admin_server=False,
            log_level="ERROR",
            application_version="1",
            executor_id="local",
        )
    )
    DBOS.launch()


def w1(place):
    with SetWorkflowID("run"):
        sequence(place.n)


def w4(place):
    async def many():
        handles = [await DBOS.start_workflow_async(naps, 10) for _ in range(place.n)]
        for handle in handles:
            await handle.get_result()

    asyncio.run(many())


def launched(body):
    def work(place):
        out = {}
        launch(place)
        with timed(out):
            body(place)
        DBOS.destroy()
        return out

    return work


def crash(place):
    STEPS.crash_after = crash_point(place.n)
    launch(place)
    w1(place)


def resume(place):
    launch(place)  # it takes up the workflows that are pending by itself
    assert DBOS.retrieve_workflow("run").get_result(polling_interval_sec=0.01) == place.n
    DBOS.destroy()
    return resumed(STEPS, place.n)


if __name__ == "__main__":
    measure.main(
        {
            "w1": launched(w1),
            "w3": launched(lambda place: asyncio.run(fan_out(place.n))),
            "w4": launched(w4),
            "hello": launched(w1),
            "crash": crash,
            "resume": resume,
        }
    )

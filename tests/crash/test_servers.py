"""The crash suite on database servers, and processes that come all at once."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter

import anyio
import pytest

from orchestrator.stores import open_store
from tests.crash.checks import broken
from tests.crash.lab import ENDS, HERE, Lab, compiled
from tests.crash.test_crash import killed_everywhere, stopped_and_taken_over
from tests.databases import database
from tests.services import or_skip

FULL = os.environ.get("ORCH_PROVE") == "1"


@pytest.fixture(params=["postgres", "mysql"])
def server(request):
    with or_skip(request.param) as found:
        yield found.url


@pytest.fixture(params=["postgres", "mysql"])
def url(request):
    with database(request.param) as found:
        yield found


@pytest.fixture
def lab(tmp_path, url):
    found = Lab(tmp_path, lease=1.0, url=url)
    yield found
    found.close()


@pytest.mark.timeout(7200)
def test_no_invariant_breaks_wherever_a_run_is_killed(server, capsys):
    killed_everywhere(capsys, 200, "--store", server)


@pytest.mark.timeout(300)
def test_a_driver_that_was_stopped_past_its_lease_commits_nothing(lab):
    wrong = [line for _ in range(25 if FULL else 1) for line in stopped_and_taken_over(lab, 4)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(300)
def test_of_fifty_that_resume_one_run_one_drives_and_the_others_are_refused(lab):
    case = lab.case(graph=compiled(HERE / "gate.yaml"))
    assert lab.run(case, at=("after_commit", 2)) == -signal.SIGKILL
    read, write = os.pipe()
    pids = {lab.fork(case, resume=True, wait_for=read) for _ in range(50)}
    os.write(write, b"g" * 50)
    os.close(read)
    os.close(write)
    codes: Counter[int] = Counter()
    while len(pids) > 1:
        ended, status = os.waitpid(-1, 0)
        pids.remove(ended)
        lab.children.remove(ended)
        codes[os.waitstatus_to_exitcode(status)] += 1
    errors = "\n".join(path.read_text() for path in case.folder.glob("error-*"))
    assert codes == {ENDS["held"]: 49}, (codes, errors)
    (case.folder / "open").touch()
    assert lab.wait(pids.pop()) == 0
    assert not broken(lab, case, outputs={"last": 4})


@pytest.mark.timeout(120)
def test_ten_processes_make_the_tables_at_once(url):
    read, write = os.pipe()
    pids: list[int] = []
    for _ in range(10):
        if (pid := os.fork()) == 0:
            code = 70
            try:
                os.read(read, 1)
                code = anyio.run(_boot, url)
            except BaseException as error:  # noqa: BLE001  the parent sees the exit code
                print(repr(error), file=sys.stderr)
            finally:
                os._exit(code)
        pids.append(pid)
    os.write(write, b"g" * 10)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.close(read)
    os.close(write)
    assert codes == [0] * 10


async def _boot(url: str) -> int:
    store = open_store(url)
    await store.open()
    try:
        return len(await store.check())
    finally:
        await store.aclose()

"""Servers of our own that lose their power under load."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial

import pytest

from tests.crash.checks import broken
from tests.crash.lab import ENDS, Lab, records_of
from tests.databases import made
from tests.services import or_skip, own

FULL = os.environ.get("ORCH_PROVE") == "1"
RUNS, RESTARTS = (50, 20) if FULL else (8, 2)


@pytest.fixture(params=["postgres", "mysql"])
def server(request):
    with or_skip(request.param, own) as found:
        yield found


@pytest.mark.timeout(1800)
def test_every_run_ends_well_however_often_its_server_is_stopped(server, tmp_path):
    chance = random.Random(7)
    with made(server.url) as url:
        lab = Lab(tmp_path, lease=1.0, url=url)
        try:
            whole = lab.case()
            assert lab.run(whole) == 0
            outputs = records_of(whole)[-1].body["outputs"]
            cases = []
            restarts = 0
            while restarts < RESTARTS:
                some = [lab.case() for _ in range(RUNS)]
                pids = [lab.fork(case) for case in some]
                time.sleep(0.1 + chance.random() / 2)
                for _ in range(4 if FULL else 2):
                    server.restart()
                    restarts += 1
                    time.sleep(chance.random() * 1.5)
                codes = [lab.wait(pid) for pid in pids]
                cases += zip(some, codes, strict=True)
            wrong = []
            for case, code in cases:
                ended = code if code == 0 else lab.finish(case)
                errors = "\n".join(path.read_text()[-600:] for path in case.folder.glob("error-*"))
                wrong += [f"{case.run_id} ended with {code}, then {ended}: {errors}"] if ended else []
                wrong += [f"{case.run_id}: {problem}" for problem in broken(lab, case, outputs=outputs)]
            assert not wrong, "\n".join(wrong)
            assert sum(code == 0 for _, code in cases) >= len(cases) // 2, [code for _, code in cases]
        finally:
            lab.close()


CLAIMING = ["before_begin", "after_begin", "before_commit", "after_commit"]
"""The points of a resume's first transaction, its claim; after the last of them it loads the journal."""


@pytest.mark.timeout(600)
def test_a_server_that_stops_while_a_run_is_taken_up_again_loses_nothing(server, tmp_path):
    with made(server.url) as url:
        lab = Lab(tmp_path, lease=1.0, url=url)
        try:
            whole = lab.case()
            assert lab.run(whole) == 0
            outputs = records_of(whole)[-1].body["outputs"]
            wrong = []
            for killed_at in range(2, 12 if FULL else 4, 2):
                for point in CLAIMING:
                    for away in (False, True):
                        wrong += _stopped_in_recovery(lab, server, (killed_at, point, away), outputs)
            assert not wrong, "\n".join(wrong)
        finally:
            lab.close()


def _stopped_in_recovery(lab, server, how, outputs):
    """A run is killed, and the server goes while it is resumed: back before it can notice, or away for a while."""
    killed_at, point, away = how
    case = lab.case()
    if lab.run(case, at=("after_commit", killed_at)) != -signal.SIGKILL:
        return [f"{how}: the run was not killed"]
    pid = lab.fork(case, resume=True, halt=(point, 1))
    if not lab.halted(pid):
        return [f"{how}: the resume has ended before its claim"]
    go_on = partial(os.kill, pid, signal.SIGCONT)
    if away:
        server.restart(go_on)
    else:
        server.restart()
        go_on()
    code = lab.wait(pid)
    ended = code if code == 0 else lab.finish(case)
    errors = "\n".join(path.read_text()[-600:] for path in case.folder.glob("error-*"))
    wrong = [f"{how}: ended with {code}, then {ended}: {errors}"] if ended else []
    if code and not away and code != ENDS["paused"]:
        wrong.append(f"{how}: the server was back, and the resume gave up with {code}: {errors}")
    return wrong + [f"{how}: {problem}" for problem in broken(lab, case, outputs=outputs)]

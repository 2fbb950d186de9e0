from __future__ import annotations

from orchestrator.app.budgets import Bound, Line
from orchestrator.cli.budget_ import budget_table


def test_what_is_left_and_what_is_overdrawn() -> None:
    bounds = {
        "usd": Bound(1_000_000, 3_031_300, 0),
        "tokens": Bound(20_000, 142_256, 0),
        "model_calls": Bound(5, 3, 1),
        "time": Bound(2_000_000, 3_000_000, 0),
        "depth": Bound(4, 0, 0),
    }
    rows = budget_table([Line("", "fail", bounds)]).splitlines()[1:]
    assert [" ".join(row.split()) for row in rows] == [
        "(run) usd $1.00 $3.0313 $0.00 $2.0313 over",
        "(run) tokens 20,000 142,256 0 122,256 over",
        "(run) model_calls 5 3 1 2",
        "(run) time 2.00s 3.00s 0.00s 0.00s",
        "(run) depth 4",
    ]

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.tools.protocol import CallContext, Effect, silent
from orchestrator.tools.redact import Redactor, reveal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Contexts:
    """Makes the context of a call in ``folder``, with these secrets."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *,
        effect: Effect = "write",
        max_output: int = 65_536,
        key: str = "key-1",
        deadline: float | None = None,
        emit: Callable[[str], None] = silent,
    ) -> CallContext:
        return CallContext(
            run_id="run-1",
            path="step",
            attempt=1,
            idempotency_key=key,
            effect=effect,
            deadline=deadline,
            folder=self.folder,
            max_output=max_output,
            reveal=partial(reveal, secrets=self.secrets),
            redact=Redactor(self.secrets),
            log=logging.getLogger("tests.tools"),
            stored=lambda name: self.folder / name,
            emit=emit,
        )


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    folder = tmp_path / "work"
    folder.mkdir()
    return Contexts(folder)


@pytest.fixture
def context(contexts: Contexts) -> Any:
    return contexts()

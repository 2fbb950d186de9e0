"""What agents remember over runs, in a database server."""

from __future__ import annotations

from orchestrator.journal.store import Fact
from orchestrator.stores import texts
from orchestrator.stores.rows import fact_values
from orchestrator.stores.server_base import ServerBase


class ServerMemory(ServerBase):
    """A store in a database server, as far as it holds facts."""

    async def remember(self, fact: Fact) -> None:
        texts.check_fact(fact)
        statement = f"{self._sql.insert_fact} {self._sql.dialect.upsert_fact}"
        await self._again(lambda: self._alone(statement, fact_values(fact)))

    async def facts(self, scope: str, *, after: str = "", limit: int = 500) -> list[Fact]:
        if not texts.holdable(scope, after):
            return []
        found = await self._again(lambda: self._all(self._sql.facts, (scope, after, limit)))
        return [Fact(*row) for row in found]

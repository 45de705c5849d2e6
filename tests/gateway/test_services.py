"""The parts of a gateway, opened from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.services import open_services
from gateway.settings import load_settings
from schema.queries import Query
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

NAMED: Query[int] = Query("test.named", "select count(*) from pg_prepared_statements where name <> ''", (), int)


@pytest.mark.parametrize("behind_a_pooler", [False, True])
async def test_behind_a_transaction_pooler_no_statement_is_kept_prepared(
    database: TestDatabase, tmp_path: Path, behind_a_pooler: bool
) -> None:
    """The next transaction may meet another server connection, which does not know the statement."""
    environment = {
        "UTTER_ENV": "local",
        "UTTER_DATA_DIR": str(tmp_path),
        "UTTER_TOKEN_SECRET": "a-token-secret-of-thirty-two-chars!!",
        "DATABASE_URL": database.gateway_url,
        "DATABASE_MAX_CONNECTIONS": "1",
    }
    if behind_a_pooler:
        environment["DATABASE_LISTEN_URL"] = database.admin_url
    async with open_services(load_settings(environment)) as services:
        for _ in range(2):
            async with services.database.as_service() as transaction:
                kept = await transaction.fetch_value(NAMED)
    assert (kept == 0) is behind_a_pooler

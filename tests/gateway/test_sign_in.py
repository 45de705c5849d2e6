"""Signing in at a whole gateway whose users come from an issuer with keys (product section 10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest
from starlette.types import ASGIApp

from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import load_settings
from tests.support.cli import STAGING
from tests.support.exchange import Exchange, request
from tests.support.issuer import Issuer, SigningKey, claims_of, ec_key, rsa_key, running_issuer
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ELLIPTIC = ec_key("elliptic")
RSA = rsa_key("rsa")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer(ELLIPTIC, RSA) as running:
        yield running


@asynccontextmanager
async def open_app(issuer: Issuer, database: TestDatabase, folder: Path) -> AsyncIterator[ASGIApp]:
    """A gateway that knows no shared secret."""
    environment = {
        **STAGING,
        "SUPABASE_JWT_SECRET": "",
        "SUPABASE_JWKS_URL": issuer.url,
        "DATABASE_URL": database.gateway_url,
        "OBJECTS_URL": str(folder),
    }
    async with open_services(load_settings(environment)) as services:
        yield create_app(services)


async def ask(app: ASGIApp, path: str, key: SigningKey, user: UUID) -> Exchange:
    return await request(app, "GET", path, headers={"authorization": f"Bearer {key.sign(claims_of(user))}"})


@pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("mount", ["/api", "/functions/v1/api"])
async def test_the_very_first_request_is_served(
    issuer: Issuer, database: TestDatabase, tmp_path: Path, key: SigningKey, mount: str
) -> None:
    user = await anyio.to_thread.run_sync(database.create_user)
    async with open_app(issuer, database, tmp_path) as app:
        assert (await ask(app, f"{mount}/voices", key, user)).status == 200
        assert (await ask(app, f"{mount}/me", key, user)).json()["user"] == {"id": str(user)}
        assert (await ask(app, f"{mount}/voices", ec_key("stranger"), user)).status == 401
        assert (await ask(app, f"{mount}/voices", key, uuid4())).status == 401  # deleted, or never there
        assert (await request(app, "GET", "/api/ready")).json() == {"ready": True, "degraded": []}


async def test_an_issuer_that_is_away_at_start_signs_nobody_out(
    issuer: Issuer, database: TestDatabase, tmp_path: Path
) -> None:
    issuer.status = 500
    user = await anyio.to_thread.run_sync(database.create_user)
    async with open_app(issuer, database, tmp_path) as app:
        answer = await ask(app, "/api/voices", ELLIPTIC, user)
        assert answer.status == 503
        assert "still signed in" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert (await ask(app, "/api/me", ELLIPTIC, user)).json()["signed_in"] is False
        assert (await request(app, "GET", "/api/voices")).status == 401
        ready = await request(app, "GET", "/api/ready")
        assert (ready.status, ready.json()["ready"]) == (200, True)
        assert "sign-in keys" in ready.json()["degraded"][0]

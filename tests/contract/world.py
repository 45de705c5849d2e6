"""The running product of one mode, with as many users as a test wants, and a superuser's look into its database."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from bench.stack import Stack, running_stack
from gateway.auth import mint_token
from gateway.data_dir import Secrets
from tests.support.emulator import VC_MODEL, data_url, wav_recording
from tests.support.stack import LIMITS

SPEED = 50.0
"""Times playback: these tests ask what is answered, not when."""

READ_SECONDS = 60.0
"""Longest silence before a test gives up; the gateway's own limits are shorter."""

DRAIN_SECONDS = 1
"""Work that a test left running need not be waited for."""

SWEEP_SECONDS = 1
"""Between two looks at work that nobody polls."""

RECORDING = wav_recording()
"""Four seconds that the emulated vendor takes for speech."""

EMPTY_WAV = bytes.fromhex("524946462400000057415645666d74201000000001000100c05d000080bb0000020010006461746100000000")
"""44 bytes, no samples: v1 must accept it wherever it takes audio (1.4)."""

FOREIGN_SECRET = "the secret of another project, long enough for HS256"

CUSTOMIZATION = "/api/v1/services/audio/tts/customization"


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user."""

    id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Sql:
    """Statements as superuser, or as one of the roles that clients have, on a connection of their own."""

    def __init__(self, portal: BlockingPortal, connection: asyncpg.Connection) -> None:
        self._portal = portal
        self._connection = connection

    def run(self, statement: str, *values: object) -> None:
        self._portal.call(self._connection.execute, statement, *values)

    def value(self, statement: str, *values: object) -> Any:
        return self._portal.call(self._connection.fetchval, statement, *values)

    def row(self, statement: str, *values: object) -> dict[str, Any]:
        """The one row. Raises AssertionError when there is none."""
        found = self._portal.call(self._connection.fetchrow, statement, *values)
        assert found is not None, statement
        return dict(found)

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._portal.call(self._connection.fetch, statement, *values)]

    def insert(self, table: str, columns: dict[str, object]) -> None:
        """A row; the names come from the tests."""
        names, places = ", ".join(columns), ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        self.run(f"insert into public.{table} ({names}) values ({places})", *columns.values())  # noqa: S608

    def as_role(self, role: str, user: UUID | None, statement: str, *values: object) -> list[dict[str, Any]]:
        """What a statement gives to a role, with a user's claims or nobody's. Nothing of it stays."""

        async def run() -> list[dict[str, Any]]:
            transaction = self._connection.transaction()
            await transaction.start()
            try:
                claims = json.dumps({"sub": str(user), "role": role} if user else {"role": role})
                await self._connection.execute("select set_config('request.jwt.claims', $1, true)", claims)
                await self._connection.execute(f"set local role {role}")
                return [dict(row) for row in await self._connection.fetch(statement, *values)]
            finally:
                await transaction.rollback()

        return self._portal.call(run)


class World:
    """One product, its provider, and who uses it."""

    def __init__(self, mode: str, stack: Stack, sql: Sql, http: httpx.Client, silent_url: str) -> None:
        self.mode = mode
        self.stack = stack
        self.sql = sql
        self.http = http
        self.silent_url = silent_url
        self._secrets = msgspec.json.decode((stack.data_dir / "secrets.json").read_bytes(), type=Secrets)
        self.provider_voice = self.enroll()
        self.stranger = self.user()

    @property
    def objects(self) -> Path:
        """The store: a bucket is a folder, a key a file below it (product section 9)."""
        return self.stack.data_dir / "objects"

    def user(self) -> User:
        """Somebody new."""
        user_id = uuid4()
        self.sql.run("insert into auth.users (id) values ($1)", user_id)
        return User(user_id, self.token_of(user_id))

    def token_of(self, user: UUID, seconds: float = 3600.0) -> str:
        """A token as this product signs them, for anybody."""
        return mint_token(self._secrets.token_secret, user, seconds)

    def forged(self, user: User) -> User:
        """The same user, by a token that another project signed."""
        return User(user.id, mint_token(FOREIGN_SECRET, user.id))

    def ask(
        self, user: User | None, method: str, path: str, *, through: httpx.Client | None = None, **how: Any
    ) -> httpx.Response:
        """A request to this product, or to the absolute address it named; nobody's without a user."""
        headers = {**(user.headers if user else {}), **(how.pop("headers", None) or {})}
        return (through or self.http).request(method, path, headers=headers, **how)

    def store(self, bucket: str, key: str, content: bytes) -> None:
        """An object that was stored earlier."""
        file = self.objects / bucket / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def stored(self, bucket: str, key: str) -> bytes | None:
        file = self.objects / bucket / key
        return file.read_bytes() if file.exists() else None

    def enroll(self) -> str:
        """The id of a new voice at the vendor, with which sessions can be told apart and made to fail."""
        asked = {
            "action": "create",
            "target_model": VC_MODEL,
            "preferred_name": "contract",
            "audio": {"data": data_url(RECORDING)},
        }
        answer = self.http.post(
            self.stack.emulator_rest_url + CUSTOMIZATION,
            json={"model": "qwen-voice-enrollment", "input": asked},
            headers={"Authorization": f"Bearer {self.stack.emulator_key}"},
        )
        return str(answer.raise_for_status().json()["output"]["voice"])

    def billing(self) -> dict[str, int]:
        """What the vendor would charge for so far."""
        bill: dict[str, int] = self.http.get(f"{self.stack.emulator_rest_url}/_emulator/billing").json()
        return bill

    @contextmanager
    def faults(self, *names: str, voice: str = "*", times: int | None = None) -> Iterator[None]:
        """The provider misbehaves so in the body."""
        url = f"{self.stack.emulator_rest_url}/_emulator/faults"
        self.http.put(url, json={"voice": voice, "faults": names, "times": times}).raise_for_status()
        try:
            yield
        finally:
            self.http.delete(url).raise_for_status()


@contextmanager
def open_world(mode: str, **environment: str) -> Iterator[World]:
    """Start the product in this mode, with the account limits out of the way (see `tests.support.stack`)."""
    surroundings = {
        **LIMITS,
        "TTS_PROVIDER_MODE": mode,
        "UTTER_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "UTTER_SWEEP_SECONDS": str(SWEEP_SECONDS),
        **environment,
    }
    with (
        running_stack(speed=SPEED, first_audio_delay=0.0, environment=surroundings) as stack,
        start_blocking_portal("asyncio") as portal,
        httpx.Client(base_url=stack.base_url, timeout=READ_SECONDS, trust_env=False) as http,
        _silence() as silent_url,
    ):
        connection = portal.call(asyncpg.connect, stack.admin_url)
        portal.call(_prepare, connection)
        try:
            yield World(mode, stack, Sql(portal, connection), http, silent_url)
        finally:
            portal.call(connection.close)


@contextmanager
def _silence() -> Iterator[str]:
    """The address of a server that accepts connections, by its backlog, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/silence"


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.execute("set synchronous_commit = off")  # thousands of small rows, none of which must survive
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)

"""`python -m bench.bare_tasks SERVER PORT`: `GET /api/tasks/:id` and nothing else, the peer of `python -m bench v1`.

A Starlette handler as one would write it by hand: the token checked with PyJWT, the same row level security
transaction with asyncpg and the same two statements, and the row as JSON. No middleware, logs, metrics or tracing, no
limit on the transaction's silence, and JSON columns stay text: a little less than the gateway's own.
`SERVER` is `hypercorn` or `uvicorn`, both on uvloop. The environment has `BARE_DATABASE_URL` and `BARE_TOKEN_SECRET`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import uvicorn
from hypercorn.config import Config
from hypercorn.run import run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schema.queries import load
from schema.records import TaskRow

SERVERS = ("hypercorn", "uvicorn")

DATABASE_CONNECTIONS = 10

_BECOME_USER = load("session.become_user", bool)
_GET = load("tasks.get", TaskRow)


async def _keep_session(_connection: object) -> None:
    """Spare the statement that a pool clears a session with: the gateway spares it too."""


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    url = os.environ["BARE_DATABASE_URL"]
    async with asyncpg.create_pool(url, min_size=1, max_size=DATABASE_CONNECTIONS, reset=_keep_session) as pool:
        app.state.pool = pool
        yield


async def _task(request: Request) -> Response:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, os.environ["BARE_TOKEN_SECRET"], algorithms=["HS256"], audience="authenticated")
    except jwt.InvalidTokenError:
        return Response(status_code=401)
    user = UUID(claims["sub"])
    said = json.dumps({"sub": str(user), "role": "authenticated"})
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        become = _BECOME_USER.arguments({"user_id": user, "claims": said})
        if not await connection.fetchval(_BECOME_USER.sql, *become):
            return Response(status_code=401)
        wanted: dict[str, Any] = {"task_id": UUID(request.path_params["task_id"]), "owner": user}
        row = await connection.fetchrow(_GET.sql, *_GET.arguments(wanted))
    if row is None:
        return Response(status_code=404)
    return Response(json.dumps(dict(row), default=str), media_type="application/json")


app = Starlette(routes=[Route("/api/tasks/{task_id}", _task)], lifespan=_lifespan)


def main(argv: list[str]) -> int:
    """Serve until SIGTERM."""
    server, port = argv
    if server == "uvicorn":
        uvicorn.run(app, host="127.0.0.1", port=int(port), loop="uvloop", log_level="warning", access_log=False)
        return 0
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.worker_class = "uvloop"
    config.workers = 0  # in this process, the one that is pinned and measured
    config.loglevel = "WARNING"
    config.application_path = "bench.bare_tasks:app"
    return run(config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The HTTP API as commands use it: every failure ends the command with words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import typer

from gateway.cli.target import Target, fail

CONNECT_SECONDS = 5.0
"""A gateway that does not answer a connection in this time is not there."""

READ_SECONDS = 60.0
"""Longest silence while speech is made: the gateway's own first-audio limit is 30 s."""

BaseUrl = Annotated[str | None, typer.Option(help="The gateway's address. Default: the one `utter dev` runs.")]
Token = Annotated[str | None, typer.Option(envvar="UTTER_TOKEN", help="Access token. Default: the demo user's.")]


@contextmanager
def open_client(target: Target) -> Iterator[httpx.Client]:
    """A client that is signed in."""
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {target.token}"}
    with httpx.Client(base_url=target.base_url, headers=headers, timeout=timeout) as client:
        try:
            yield client
        except httpx.ConnectError:
            fail(f"Nothing answers at {target.base_url}. Start it with `utter dev`, or give --base-url.")
        except httpx.RemoteProtocolError:
            fail("The speech broke off before its end; what came is incomplete.")
        except httpx.TimeoutException:
            fail(f"{target.base_url} took too long to answer.")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(f"{target.base_url} cannot be reached: {error}. Check --base-url.")


def list_voices(client: httpx.Client, search: str | None) -> list[dict[str, Any]]:
    """The caller's voices, newest first, at most a page of a hundred."""
    query: dict[str, str | int] = {"per_page": 100}
    if search:
        query["search"] = search
    response = client.get("/api/voices", params=query)
    require_success(response)
    rows: list[dict[str, Any]] = response.json()["voices"]
    return rows


def require_success(response: httpx.Response) -> None:
    """End the command with the server's words unless the status is 200."""
    if response.status_code == httpx.codes.OK:
        return
    response.read()
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):  # not the gateway's words: a proxy's, or another program's
        detail = response.reason_phrase
    fail(f"{detail} ({response.status_code})")

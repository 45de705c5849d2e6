"""The issuer's public keys: fetched beside the requests, kept while the issuer is away, looked for at a rotation.

No request waits for the issuer, with one exception: a token that names a key nobody has seen yet may be the first one
after a rotation, so it waits for one fetch, which all such requests share and which happens at most once in
`UNKNOWN_KEY_SECONDS`. Whoever makes up key ids can cause no more than that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import httpx
import jwt
import structlog

from gateway.jwks import MAX_KEY_ID_CHARS, NoKeySet, VerificationKey, parse_key_set
from gateway.task_groups import open_task_group

REFRESH_SECONDS = 600.0
"""How often the keys are fetched: a key that was withdrawn verifies no longer than this. Supabase lets caches keep
the document as long."""

RETRY_SECONDS = 15.0
"""Pause after a fetch that failed."""

UNKNOWN_KEY_SECONDS = 30.0
"""Between two fetches that unknown key ids cause."""

STALE_SECONDS = 4 * 3600.0
"""How long keys are trusted that cannot be refreshed. An access token lives an hour, so a longer outage of the issuer
has ended every sign-in anyway; one of the way there should not, but a leaked key must not be good for ever."""

FETCH_SECONDS = 5.0
"""One fetch. A request may be waiting for it."""

MAX_DOCUMENT_BYTES = 64 * 1024
"""Longest key set: fifty RSA keys are half of it."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.auth")


class KeysUnavailable(Exception):
    """A fetch gave no key set. The message says why, without the issuer's words."""


class IssuerKeys:
    """What is known of an issuer's keys. `clock` gives seconds that never go back."""

    def __init__(self, url: str, client: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._looked_at: float | None = None
        self._failing = False
        self._fetching = False
        self._wanted = anyio.Event()
        self._done = anyio.Event()

    @property
    def trusted(self) -> bool:
        """Whether the issuer said which keys it has, recently enough to be believed."""
        return self._fetched_at is not None and self._clock() - self._fetched_at < STALE_SECONDS

    @property
    def reachable(self) -> bool:
        """Whether the last fetch succeeded, or the first one still runs."""
        return not self._failing

    def find(self, key_id: str) -> VerificationKey | None:
        """The key of this id, None when there is none, or none that may still be trusted."""
        return self._keys.get(key_id) if self.trusted else None

    async def look_for(self, key_id: str) -> None:
        """Return at once when the key is known or was looked for lately; else after the next fetch, good or bad."""
        if self.find(key_id) is not None:
            return
        if not self._fetching:
            if self._looked_at is not None and self._clock() - self._looked_at < UNKNOWN_KEY_SECONDS:
                return
            self._wanted.set()
        await self._done.wait()

    async def idle(self) -> None:
        """Return when no fetch runs."""
        while self._fetching:
            await self._done.wait()

    async def refresh(self) -> None:
        """One fetch, now. What goes wrong is logged, and the old keys stay."""
        self._fetching, self._looked_at = True, self._clock()
        try:
            self._keys = await _fetch(self._client, self._url)
        except KeysUnavailable as error:
            self._failing = True
            _log.warning("auth.keys_unavailable", reason=str(error), trusted=self.trusted)
        else:
            self._failing = False
            self._fetched_at = self._clock()
            _log.info("auth.keys_fetched", keys=len(self._keys))
        finally:
            self._fetching = False
            self._done.set()
            self._done = anyio.Event()

    async def keep_fresh(self) -> None:
        """Fetch now, from time to time, and when asked to. Never returns."""
        while True:
            self._wanted = anyio.Event()
            await self.refresh()
            with anyio.move_on_after(RETRY_SECONDS if self._failing else REFRESH_SECONDS):
                await self._wanted.wait()


async def fetch_keys(url: str) -> Mapping[str, VerificationKey]:
    """The keys at `url`, by their ids. Raises `KeysUnavailable`."""
    async with _client() as client:
        return await _fetch(client, url)


async def _fetch(client: httpx.AsyncClient, url: str) -> Mapping[str, VerificationKey]:
    try:
        with anyio.fail_after(FETCH_SECONDS):
            return parse_key_set(await _read(client, url))
    except TimeoutError:
        raise KeysUnavailable("no answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise KeysUnavailable(type(error).__name__) from error
    except NoKeySet as error:
        raise KeysUnavailable(str(error)) from error


async def _read(client: httpx.AsyncClient, url: str) -> bytes:
    async with client.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK:
            raise KeysUnavailable(f"status {response.status_code}")
        document = bytearray()
        async for piece in response.aiter_raw():  # to its end, within the time of a fetch, but not all is kept
            document += piece[: MAX_DOCUMENT_BYTES + 1 - len(document)]
    if len(document) > MAX_DOCUMENT_BYTES:
        raise KeysUnavailable("the document is too long")
    return bytes(document)


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=FETCH_SECONDS,
        follow_redirects=False,  # the address is a setting; nobody else may send us elsewhere for keys
        trust_env=False,
    )


@asynccontextmanager
async def open_issuer_keys(url: str) -> AsyncIterator[IssuerKeys]:
    """The keys at `url` for the time of the block, kept fresh by a task beside it. Nobody waits for the first fetch."""
    async with (
        _client() as client,
        open_task_group() as tasks,
    ):
        keys = IssuerKeys(url, client)
        tasks.start_soon(keys.keep_fresh, name="issuer keys")
        yield keys
        tasks.cancel_scope.cancel()


def key_id_of(token: str) -> str | None:
    """The id of the key that a token says it is signed with; None for HS256 tokens, whose secret has no choice.

    Nothing else of the header is looked at: `jku`, `x5u` and `jwk` would let the token bring its own key.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        return None
    key_id = header.get("kid")
    asymmetric = header.get("alg") in {"ES256", "RS256"}
    return key_id if asymmetric and isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_CHARS else None

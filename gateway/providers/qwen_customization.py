"""Cloning and designing voices through the vendor's customization REST (product section 6).

A create is billed and cannot be undone, so it is sent once. When its outcome is unknown, the account's voices are
listed and searched for the name that only this create could have used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar
from uuid import UUID

import anyio
import httpx
import structlog
from msgspec import UNSET

from gateway.providers.attempts import RetryPolicy, with_retries
from gateway.providers.unknown_codes import UnknownCodes
from protocol.customization import (
    MAX_PAGE_INDEX,
    PAGE_SIZE,
    AudioSource,
    CreateClone,
    CreateDesign,
    DeleteVoice,
    DesignInput,
    EnrollmentInput,
    ListVoices,
    PreviewFormat,
    QueryVoice,
    encode_request,
    preferred_name,
)
from protocol.customization_answers import (
    MAX_ANSWER_BYTES,
    CreatedVoice,
    ListedVoice,
    match_created,
    parse_created,
    parse_deleted,
    parse_page,
    parse_voice,
)
from protocol.errors import Fault, ProviderFailure, RemoteProtocolError, VendorError
from protocol.languages import customization_language

PATH = "/api/v1/services/audio/tts/customization"

CREATE_SECONDS = 90.0
"""A design was measured at ten-odd seconds; clients of this API allow 60 to 90 (protocol reference 3)."""

LOOKUP_SECONDS = 30.0
"""List, query and delete do no synthesis. Applies to one attempt."""

LOOKUP_PATIENCE_SECONDS = 60.0
"""No attempt of a list, query or delete begins later than this after the first."""

SETTLE_SECONDS = 15.0
"""How long a create whose answer was lost may still be made at the vendor: longer than it was measured to take."""

FIRST_LOOK_AGAIN_SECONDS = 1.0
"""First pause between two looks for it; it doubles, so that there are five."""

CONNECT_SECONDS = 5.0
"""TCP and TLS; the same as for the socket (product section 5)."""

MAX_CONNECTIONS = 20
"""Calls at a time; more wait, within their own deadline."""

_log = structlog.get_logger("utter")

T = TypeVar("T")
_Answer = tuple[int, bytes, str]  # HTTP status, body, x-request-id


class VoiceKind(Enum):
    """How a custom voice is made: the vendor keeps the two apart, with a customization model for each."""

    CLONED = "vc"
    DESIGNED = "vd"


class AmbiguousCreate(ProviderFailure):
    """A create whose outcome is unknown, and no trace of the voice yet: it may exist and be billed.

    Call `QwenCustomization.find_created` before ever creating for the same owner again.
    """

    def __init__(self, cause: ProviderFailure) -> None:
        super().__init__(cause.fault, cause.vendor)


@dataclass(frozen=True, slots=True)
class CustomizationOptions:
    """Where and as whom, and with which models by kind: a `target_models` entry is what a new voice is made for."""

    base_url: str
    api_key: str = field(repr=False)
    workspace: str
    customization_models: dict[VoiceKind, str]
    target_models: dict[VoiceKind, str]
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    create_seconds: float = CREATE_SECONDS
    lookup_seconds: float = LOOKUP_SECONDS
    settle_seconds: float = SETTLE_SECONDS


@asynccontextmanager
async def open_qwen_customization(options: CustomizationOptions) -> AsyncIterator[QwenCustomization]:
    """The driver for the time of the block."""
    headers = {
        "Authorization": f"Bearer {options.api_key}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    if options.workspace:
        headers["X-DashScope-WorkSpace"] = options.workspace
    async with httpx.AsyncClient(
        base_url=options.base_url,
        headers=headers,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # the whole call has a deadline of its own
        # Calls are rare and a create is sent once: a connection that went stale meanwhile must not cost one.
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
        trust_env=False,  # a .netrc would replace the key, a proxy variable would be told about it
    ) as client:
        yield QwenCustomization(options, client)


class QwenCustomization:
    """All methods raise `ProviderFailure`. `owner` is the id of our voice or task that the vendor makes a voice for."""

    def __init__(self, options: CustomizationOptions, client: httpx.AsyncClient) -> None:
        self._options = options
        self._client = client
        self.unknown_codes = UnknownCodes()

    async def clone(self, owner: UUID, recording: AudioSource, *, transcript: str, language: str) -> CreatedVoice:
        """Clone a voice; billed, once. `language` is a name of the list, `Auto` is decided by the transcript.

        Raises `AmbiguousCreate`. A voice that was found by listing has no `billed` and maybe no `request_id`.
        """
        action = CreateClone(
            target_model=self._options.target_models[VoiceKind.CLONED],
            preferred_name=preferred_name(owner),
            audio=recording,
            text=transcript or UNSET,
            language=customization_language(language, transcript),
        )
        return await self._create(VoiceKind.CLONED, owner, action)

    async def design(self, owner: UUID, *, description: str, preview_text: str, language: str) -> CreatedVoice:
        """Design a voice; billed, once. As `clone`; a voice that was found by listing has no `preview` either."""
        action = CreateDesign(
            target_model=self._options.target_models[VoiceKind.DESIGNED],
            voice_prompt=description,
            preview_text=preview_text,
            preferred_name=preferred_name(owner),
            language=customization_language(language, preview_text),
        )
        return await self._create(VoiceKind.DESIGNED, owner, action, PreviewFormat())

    async def find_created(self, kind: VoiceKind, owner: UUID) -> ListedVoice | None:
        """The voice that a create for `owner` made, the newest if there are several. Made for whatever model: the pin
        may have moved since."""
        found = match_created(await self.list_voices(kind), preferred_name(owner))
        for orphan in found[1:]:
            _log.warning("customization.orphan", owner=str(owner), voice=orphan.voice)
        return found[0] if found else None

    async def list_voices(self, kind: VoiceKind) -> list[ListedVoice]:
        """All voices of the account, page by page until a short one (the vendor's total cannot be relied on)."""
        voices: list[ListedVoice] = []
        for page_index in range(MAX_PAGE_INDEX + 1):
            page = await self._look_up(kind, ListVoices(page_index=page_index), parse_page)
            voices += page
            if len(page) < PAGE_SIZE:
                break
        return voices

    async def query_designed(self, voice: str) -> ListedVoice | None:
        """One designed voice, None when there is none; cloned voices cannot be queried (protocol reference 3)."""
        return await self._look_up(VoiceKind.DESIGNED, QueryVoice(voice=voice), parse_voice)

    async def delete(self, kind: VoiceKind, voice: str) -> bool:
        """Delete at the vendor; False when it was not there any more."""
        return await self._look_up(kind, DeleteVoice(voice=voice), parse_deleted)

    async def _create(
        self, kind: VoiceKind, owner: UUID, action: CreateClone | CreateDesign, preview: PreviewFormat | None = None
    ) -> CreatedVoice:
        try:
            with self.unknown_codes.watched(_log):
                answer = await self._call(kind, action, preview, seconds=self._options.create_seconds)
                return _read(parse_created, answer)
        except ProviderFailure as failure:
            if not _may_have_happened(failure):
                raise
            _log.warning("customization.create_ambiguous", owner=str(owner), fault=failure.fault.value)
            return await self._recover(kind, owner, failure)

    async def _recover(self, kind: VoiceKind, owner: UUID, failure: ProviderFailure) -> CreatedVoice:
        """Look for the voice. A create that nobody answered may still be under way, so then more than once."""
        silent = failure.fault in _SENT_WITHOUT_ANSWER
        until = anyio.current_time() + (self._options.settle_seconds if silent else 0.0)
        pause = FIRST_LOOK_AGAIN_SECONDS
        while (found := await self._look_for(kind, owner)) is None:
            if anyio.current_time() + pause > until:
                raise AmbiguousCreate(failure) from failure
            await anyio.sleep(pause)
            pause *= 2
        return CreatedVoice(found.voice, found.target_model, failure.vendor.request_id, billed=None)

    async def _look_for(self, kind: VoiceKind, owner: UUID) -> ListedVoice | None:
        try:
            return await self.find_created(kind, owner)
        except ProviderFailure:
            _log.exception("customization.recovery_failed", owner=str(owner))
            return None

    async def _look_up(
        self, kind: VoiceKind, action: EnrollmentInput | DesignInput, parse: Callable[[int, bytes, str], T]
    ) -> T:
        async def attempt(_: int) -> T:
            return _read(parse, await self._call(kind, action, None, seconds=self._options.lookup_seconds))

        until = anyio.current_time() + LOOKUP_PATIENCE_SECONDS
        with self.unknown_codes.watched(_log):
            return await with_retries(attempt, self._options.retries, _log, until=until)

    async def _call(
        self,
        kind: VoiceKind,
        action: EnrollmentInput | DesignInput,
        preview: PreviewFormat | None,
        *,
        seconds: float,
    ) -> _Answer:
        """One POST. Raises UNREACHABLE or CONNECT_TIMEOUT when nothing was sent, other faults when it may have been."""
        body = encode_request(self._options.customization_models[kind], action, preview)
        try:
            with anyio.fail_after(seconds):
                return await self._post(body)
        except httpx.ConnectTimeout as error:
            raise ProviderFailure(Fault.CONNECT_TIMEOUT) from error
        except httpx.ConnectError as error:
            raise ProviderFailure(Fault.UNREACHABLE) from error
        except httpx.RequestError as error:
            raise ProviderFailure(Fault.CONNECTION_LOST, VendorError(message=type(error).__name__)) from error
        except TimeoutError as error:
            raise ProviderFailure(Fault.ANSWER_TIMEOUT) from error

    async def _post(self, body: bytes) -> _Answer:
        async with self._client.stream("POST", PATH, content=body) as response:
            answer = bytearray()
            # Raw: no encoding was accepted. An answer over the limit is read to its end, so that the connection is
            # left in order, but not kept; one byte too many is enough for the parser to refuse it.
            async for chunk in response.aiter_raw():
                answer += chunk[: MAX_ANSWER_BYTES + 1 - len(answer)]
            return response.status_code, bytes(answer), response.headers.get("x-request-id", "")


def _read(parse: Callable[[int, bytes, str], T], answer: _Answer) -> T:
    try:
        return parse(*answer)
    except RemoteProtocolError as error:
        vendor = VendorError(message=str(error), http_status=answer[0], request_id=answer[2])
        raise ProviderFailure(Fault.PROTOCOL_BROKEN, vendor) from error


_SENT_WITHOUT_ANSWER = frozenset({Fault.CONNECTION_LOST, Fault.ANSWER_TIMEOUT, Fault.PROTOCOL_BROKEN})
_OUT_OF_TIME = frozenset({Fault.OVERLOADED, Fault.SESSION_EXPIRED})


def _may_have_happened(failure: ProviderFailure) -> bool:
    """Whether a create that ended so may have made a voice. A refusal below 500 is the vendor's word that it did not;
    but these two under any status are what its timeouts come to (protocol reference 3.4)."""
    server_error = (failure.vendor.http_status or 0) >= 500
    return failure.fault in _SENT_WITHOUT_ANSWER | _OUT_OF_TIME or server_error

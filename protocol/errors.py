"""What can go wrong with a speech provider, as one closed list.

Two questions are answered here and nowhere else. *Whose fault was it?* `LocalProtocolError` is a mistake of the
code that drives a machine, `RemoteProtocolError` is a peer that broke the protocol. *What do we tell people?*
Every failure a provider can cause is one `Fault`: its category, whether trying again can help, the HTTP status a
client sees, words for that client and words for whoever is on call.

`protocol/vendor_codes.py` turns what the vendor said into a `Fault`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class ProtocolError(Exception):
    """A message that the protocol does not allow. Abstract: raise one of the two subclasses."""

    def __init__(self, message: str) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError: whose fault is it?")
        super().__init__(message)


class LocalProtocolError(ProtocolError):
    """We asked a machine for a move that its state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what its state does not allow, or what cannot be read at all."""


class Category(StrEnum):
    """The value of `X-Utter-Error-Category`, and the label of the error metrics."""

    VALIDATION = "validation"
    PROVIDER_REJECTED = "provider_rejected"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class FaultFacts:
    """Everything that follows from a fault. `detail` is for users, `remedy` for operators."""

    category: Category
    status: int
    retryable: bool
    detail: str
    remedy: str


class Fault(Enum):
    """The closed list of provider failures. `fault.value` is the stable name used in logs and metrics."""

    BAD_INPUT = "bad_input"
    CONTENT_REFUSED = "content_refused"
    RECORDING_UNUSABLE = "recording_unusable"
    VOICE_UNKNOWN = "voice_unknown"
    VOICE_MISMATCH = "voice_mismatch"
    KEY_REFUSED = "key_refused"
    ACCESS_DENIED = "access_denied"
    ACCOUNT_ARREARS = "account_arrears"
    VOICE_QUOTA = "voice_quota"
    MODEL_GONE = "model_gone"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    CONNECTION_LOST = "connection_lost"
    SESSION_EXPIRED = "session_expired"
    PROTOCOL_BROKEN = "protocol_broken"
    WRONG_AUDIO = "wrong_audio"
    NO_AUDIO = "no_audio"
    RESPONSE_FAILED = "response_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    ANSWER_TIMEOUT = "answer_timeout"
    FIRST_AUDIO_TIMEOUT = "first_audio_timeout"
    AUDIO_STALLED = "audio_stalled"
    SESSION_TIMEOUT = "session_timeout"
    CIRCUIT_OPEN = "circuit_open"
    NOT_CONFIGURED = "not_configured"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def facts(self) -> FaultFacts:
        """Category, status, wording: see `FAULT_FACTS`."""
        return FAULT_FACTS[self]


_BUSY = "The speech service is busy. Please try again in a moment."
_DOWN = "The speech service cannot be reached right now. Please try again in a moment."
_REFUSED = "The speech service refused the request. We have been told; please try again later."
_BROKE = "The speech service stopped unexpectedly. Please try again."
_SLOW = "The speech service took too long. Please try again."

FAULT_FACTS: dict[Fault, FaultFacts] = {
    Fault.BAD_INPUT: FaultFacts(
        Category.VALIDATION,
        400,
        False,
        "The speech service cannot read this text with this voice. Please change the text and try again.",
        "The vendor refused a field. Compare the request in the trace with the protocol reference.",
    ),
    Fault.CONTENT_REFUSED: FaultFacts(
        Category.VALIDATION,
        400,
        False,
        "The speech service declined this content. Please change the text and try again.",
        "The vendor's moderation refused it; nothing to do here.",
    ),
    Fault.RECORDING_UNUSABLE: FaultFacts(
        Category.VALIDATION,
        400,
        False,
        "This recording cannot be used. Record at least 10 seconds of clear speech that matches the transcript.",
        "The vendor's audio check refused the recording; its code says which rule it broke.",
    ),
    Fault.VOICE_UNKNOWN: FaultFacts(
        Category.VALIDATION,
        409,
        False,
        "The speech service no longer knows this voice. Please clone or design it again.",
        "The vendor has no such voice: deleted, expired after a year unused, or of another account or region.",
    ),
    Fault.VOICE_MISMATCH: FaultFacts(
        Category.VALIDATION,
        409,
        False,
        "The speech service cannot use this voice any more. Please clone or design it again.",
        "The vendor refused the voice for this model. It speaks only with the target_model it was made with: compare "
        "provider_model and provider_region of its row with the session's. It may also be gone.",
    ),
    Fault.KEY_REFUSED: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        _REFUSED,
        "DASHSCOPE_API_KEY is wrong, or belongs to the other region: the two look the same on the wire. "
        "Check the key and DASHSCOPE_BASE_URL together.",
    ),
    Fault.ACCESS_DENIED: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        _REFUSED,
        "The account may not use this model or workspace. Check DASHSCOPE_WORKSPACE and the service's activation.",
    ),
    Fault.ACCOUNT_ARREARS: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        _REFUSED,
        "The vendor account is in arrears or not paid for. Settle the bill; retrying cannot help.",
    ),
    Fault.VOICE_QUOTA: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        _REFUSED,
        "The account's 1000 voice slots are full. Delete unused provider voices.",
    ),
    Fault.MODEL_GONE: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        "The speech model behind this voice is no longer available. We have been told; please try again later.",
        "The vendor retired the pinned model. Pin another with QWEN_VC_TARGET_MODEL or QWEN_VD_TARGET_MODEL, "
        "re-clone voices for it, or switch TTS_PROVIDER_MODE to modal.",
    ),
    Fault.RATE_LIMITED: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _BUSY,
        "The vendor limits the account's request rate. Check the pacing settings against the account's limits.",
    ),
    Fault.OVERLOADED: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _BUSY,
        "The vendor reports an internal or capacity error. See its status page if it lasts.",
    ),
    Fault.UNREACHABLE: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _DOWN,
        "No connection to the vendor. Check DNS, egress and DASHSCOPE_REALTIME_URL.",
    ),
    Fault.CONNECTION_LOST: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _BROKE,
        "The vendor's socket ended before session.finished.",
    ),
    Fault.SESSION_EXPIRED: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _BROKE,
        "The vendor expired the session. Idle sockets must not be kept this long.",
    ),
    Fault.PROTOCOL_BROKEN: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        False,
        _BROKE,
        "The vendor sent what its protocol does not allow. The trace names the state and the event.",
    ),
    Fault.WRONG_AUDIO: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        False,
        _BROKE,
        "The vendor's audio is not the format asked for. QWEN_UPSTREAM_FORMAT=pcm avoids the vendor's encoder.",
    ),
    Fault.NO_AUDIO: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        False,
        "The speech service returned no audio for this text. Please change the text and try again.",
        "The session finished without a byte of audio. A text that cannot be spoken, or a changed protocol.",
    ),
    Fault.RESPONSE_FAILED: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        True,
        _BROKE,
        "A response ended with a status other than completed.",
    ),
    Fault.CONNECT_TIMEOUT: FaultFacts(
        Category.TIMEOUT,
        504,
        True,
        _SLOW,
        "The vendor did not accept a connection in time.",
    ),
    Fault.ANSWER_TIMEOUT: FaultFacts(
        Category.TIMEOUT,
        504,
        True,
        _SLOW,
        "The vendor's REST interface did not answer in time. After a create, list before creating again.",
    ),
    Fault.FIRST_AUDIO_TIMEOUT: FaultFacts(
        Category.TIMEOUT,
        504,
        False,
        _SLOW,
        "No audio within the first-audio deadline, queue and retries included.",
    ),
    Fault.AUDIO_STALLED: FaultFacts(
        Category.TIMEOUT,
        504,
        False,
        _SLOW,
        "The vendor stopped sending audio in the middle of a session.",
    ),
    Fault.SESSION_TIMEOUT: FaultFacts(
        Category.TIMEOUT,
        504,
        False,
        _SLOW,
        "The session ran longer than the whole-session deadline.",
    ),
    Fault.CIRCUIT_OPEN: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        False,
        _DOWN,
        "The vendor failed repeatedly, so nothing is sent to it for a moment. Earlier traces say how it failed.",
    ),
    Fault.NOT_CONFIGURED: FaultFacts(
        Category.PROVIDER_REJECTED,
        502,
        False,
        "The speech service is not set up on this server. We have been told; please try again later.",
        "The provider's key or address is not set, or nothing answers. Check DASHSCOPE_API_KEY or MODAL_*.",
    ),
    Fault.CANCELLED: FaultFacts(
        Category.CANCELLED,
        409,
        False,
        "This generation was cancelled.",
        "Cancelled by its user.",
    ),
    Fault.UNKNOWN: FaultFacts(
        Category.PROVIDER_UNAVAILABLE,
        503,
        False,
        _BROKE,
        "The vendor sent a code we do not know. Add it to protocol/vendor_codes.py.",
    ),
}


@dataclass(frozen=True, slots=True)
class VendorError:
    """What the vendor said, unclassified. None of it may reach a user.

    `code` is the vendor's error code ("" when it sent none), `message` its text, `http_status` that of a REST
    answer or a refused upgrade, `close_code` that of a WebSocket close frame.
    """

    code: str = ""
    message: str = ""
    http_status: int | None = None
    close_code: int | None = None
    request_id: str = ""


class ProviderFailure(Exception):
    """A provider did not do what was asked. Carries the `fault` and what the trace needs, never user text."""

    def __init__(
        self,
        fault: Fault,
        vendor: VendorError | None = None,
        *,
        session_id: str = "",
        last_event_id: str = "",
    ) -> None:
        self.fault = fault
        self.vendor = vendor or VendorError()
        self.session_id = session_id
        self.last_event_id = last_event_id
        super().__init__(f"{fault.value}: {fault.facts.remedy}")

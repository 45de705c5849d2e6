"""The vocabulary of the realtime protocol: one tagged struct per event, one decoder per direction.

Sources: protocol reference 1.3 (client events) and 1.4 (server events). The rule for types: a field this project
*reads* is typed, and a wrong type is refused; a field it only *writes* (the emulator's faithful field lists) is
`Opaque` when read, because a vendor that changes a label must not cost a user their audio.

Unknown keys are ignored and an unknown event type is a value, `UnknownEvent`: the vendor adds both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, UnsetType

from protocol.errors import LocalProtocolError, RemoteProtocolError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Longest message that is decoded (characters of a `str`). A delta is 20 to 40 kB of base64; public clients of this
protocol allow 4 to 10 MiB (protocol reference 1.9)."""

MAX_ID_CHARS = 256
"""Longest id that is accepted. Recorded ids have 26 characters (protocol reference 1.4); ids are kept and logged."""

MAX_TYPE_CHARS = 64
"""An unknown type is cut to this: it goes to logs. The longest known type has 32 characters."""

Opaque: TypeAlias = object
"""A field that is written but never read: anything goes."""

Id: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a response cost, as the server writes it. Readers use `protocol.usage.usage_counts`: every key is
    optional."""

    characters: int | UnsetType = UNSET
    total_tokens: int | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    input_tokens_details: dict[str, int] | UnsetType = UNSET
    output_tokens_details: dict[str, int] | UnsetType = UNSET


# ---------------------------------------------------------------------------------------------- client events


class ClientEvent(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of everything a client sends. The vendor accepts a missing `event_id` (protocol reference 1.3)."""

    event_id: Id | UnsetType = UNSET


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `session.update`. UNSET keeps the server's default; ranges in protocol reference 1.3."""

    voice: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    response_format: str | UnsetType = UNSET
    sample_rate: int | UnsetType = UNSET
    language_type: str | UnsetType = UNSET
    speech_rate: float | UnsetType = UNSET
    pitch_rate: float | UnsetType = UNSET
    volume: int | UnsetType = UNSET
    bit_rate: int | UnsetType = UNSET
    enable_tn: bool | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    optimize_instructions: bool | UnsetType = UNSET


class SessionUpdate(ClientEvent, tag="session.update", frozen=True, kw_only=True):
    """Sets voice and format; allowed until the first text."""

    session: SessionSettings


class InputTextBufferAppend(ClientEvent, tag="input_text_buffer.append", frozen=True, kw_only=True):
    """More text. The key is `text`; a client that sends another one is served silence (reference 1.3)."""

    text: str = ""


class InputTextBufferCommit(ClientEvent, tag="input_text_buffer.commit", frozen=True):
    """Speak what is buffered now."""


class InputTextBufferClear(ClientEvent, tag="input_text_buffer.clear", frozen=True):
    """Drop what is buffered and not yet taken."""


class SessionFinish(ClientEvent, tag="session.finish", frozen=True):
    """No more text will come."""


AnyClientEvent: TypeAlias = (
    SessionUpdate | InputTextBufferAppend | InputTextBufferCommit | InputTextBufferClear | SessionFinish
)

# ---------------------------------------------------------------------------------------------- server events


class ServerEvent(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of everything a server sends."""

    event_id: Id | None = ""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The session as the server echoes it. `language_type` comes back lower-cased: never compare it exactly."""

    id: Id
    object: Opaque = UNSET
    mode: Opaque = UNSET
    model: Opaque = UNSET
    voice: Opaque = UNSET
    response_format: Opaque = UNSET
    sample_rate: Opaque = UNSET
    language_type: Opaque = UNSET


class SessionCreated(ServerEvent, tag="session.created", frozen=True, kw_only=True):
    """Pushed before anything from the client; carries the server's defaults."""

    session: SessionInfo


class SessionUpdated(ServerEvent, tag="session.updated", frozen=True, kw_only=True):
    """A `session.update` was accepted."""

    session: SessionInfo


class InputTextBufferCommitted(ServerEvent, tag="input_text_buffer.committed", frozen=True):
    """A commit was accepted. `item_id` is "" in every recording."""

    item_id: Opaque = ""


class InputTextBufferCleared(ServerEvent, tag="input_text_buffer.cleared", frozen=True):
    """The buffer was emptied."""


class ResponseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `status` decides success: only `completed` is (protocol reference 1.4)."""

    id: Id
    object: Opaque = UNSET
    conversation_id: Opaque = UNSET
    status: str = ""
    status_details: Opaque = UNSET
    modalities: Opaque = UNSET
    voice: Opaque = UNSET
    output: Opaque = UNSET
    usage: Opaque = UNSET


class ResponseCreated(ServerEvent, tag="response.created", frozen=True, kw_only=True):
    """A response begins."""

    response: ResponseInfo


class OutputItemAdded(ServerEvent, tag="response.output_item.added", frozen=True, kw_only=True):
    """The response's only item begins."""

    response_id: Id
    output_index: Opaque = UNSET
    item: Opaque = UNSET


class ContentPartAdded(ServerEvent, tag="response.content_part.added", frozen=True, kw_only=True):
    """The item's only part begins."""

    response_id: Id
    item_id: Opaque = UNSET
    output_index: Opaque = UNSET
    content_index: Opaque = UNSET
    part: Opaque = UNSET


class AudioDelta(ServerEvent, tag="response.audio.delta", frozen=True, kw_only=True):
    """A piece of audio; `delta` is base64 on the wire and bytes here."""

    response_id: Id
    item_id: Opaque = UNSET
    output_index: Opaque = UNSET
    content_index: Opaque = UNSET
    delta: bytes


class AudioDone(ServerEvent, tag="response.audio.done", frozen=True, kw_only=True):
    """The response's audio is complete."""

    response_id: Id
    item_id: Opaque = UNSET
    output_index: Opaque = UNSET
    content_index: Opaque = UNSET


class ContentPartDone(ServerEvent, tag="response.content_part.done", frozen=True, kw_only=True):
    """The part is complete."""

    response_id: Id
    item_id: Opaque = UNSET
    output_index: Opaque = UNSET
    content_index: Opaque = UNSET
    part: Opaque = UNSET


class OutputItemDone(ServerEvent, tag="response.output_item.done", frozen=True, kw_only=True):
    """The item is complete."""

    response_id: Id
    output_index: Opaque = UNSET
    item: Opaque = UNSET


class ResponseDone(ServerEvent, tag="response.done", frozen=True, kw_only=True):
    """The response ended; its `status` says how."""

    response: ResponseInfo


class SessionFinished(ServerEvent, tag="session.finished", frozen=True):
    """Everything was said: the only event that can mean success."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the server writes it: current docs send `code` and `message`, older ones the rest too (protocol
    reference 1.4). Readers use `protocol.vendor_words.vendor_error`."""

    type: Opaque = UNSET
    code: Opaque = UNSET
    message: Opaque = UNSET
    param: Opaque = UNSET
    event_id: Opaque = UNSET
    request_id: Opaque = UNSET


class Error(ServerEvent, tag="error", frozen=True, kw_only=True):
    """The vendor's refusal, of whatever shape. Some forms put `message` at the top level."""

    error: Opaque = UNSET
    code: Opaque = UNSET
    message: Opaque = UNSET


AnyServerEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | InputTextBufferCommitted
    | InputTextBufferCleared
    | ResponseCreated
    | OutputItemAdded
    | ContentPartAdded
    | AudioDelta
    | AudioDone
    | ContentPartDone
    | OutputItemDone
    | ResponseDone
    | SessionFinished
    | Error
)

# ---------------------------------------------------------------------------------------------- reading and writing


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event whose type is not in the vocabulary. `size` is the length of the message, in characters or bytes."""

    type: str
    size: int


class _Envelope(msgspec.Struct):
    type: str


_server_decoder = msgspec.json.Decoder(AnyServerEvent)
_client_decoder = msgspec.json.Decoder(AnyClientEvent)
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_encoder = msgspec.json.Encoder()


def _types(union: object) -> frozenset[str]:
    return frozenset(struct.__struct_config__.tag for struct in get_args(union))


SERVER_EVENT_TYPES = _types(AnyServerEvent)
CLIENT_EVENT_TYPES = _types(AnyClientEvent)


_Event = TypeVar("_Event")


def decode_server_event(message: str | bytes) -> AnyServerEvent | UnknownEvent:
    """Read one whole message from a server.

    Raises RemoteProtocolError for whatever is not one JSON object with a `type`, for a known type whose fields are
    missing or wrong, and for a message over MAX_MESSAGE_BYTES. Never anything else.
    """
    return _decode(_server_decoder, SERVER_EVENT_TYPES, message)


def decode_client_event(message: str | bytes) -> AnyClientEvent | UnknownEvent:
    """Read one whole message from a client; raises as `decode_server_event`."""
    return _decode(_client_decoder, CLIENT_EVENT_TYPES, message)


def encode(event: ClientEvent | ServerEvent) -> str:
    """The text frame of `event`. Raises LocalProtocolError for text that UTF-8 cannot carry (lone surrogates)."""
    try:
        return _encoder.encode(event).decode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{type_of(event)} carries text that is not Unicode") from None


def type_of(event: ClientEvent | ServerEvent) -> str:
    """The wire name of an event, such as `response.audio.delta`."""
    return str(event.__struct_config__.tag)


def _decode(
    decoder: msgspec.json.Decoder[_Event], known: frozenset[str], message: str | bytes
) -> _Event | UnknownEvent:
    if len(message) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(f"a message of {len(message)} is over the limit of {MAX_MESSAGE_BYTES}")
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        return _unknown(known, message, error)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a message of {len(message)} is not JSON: {_reason(error)}") from error


def _unknown(known: frozenset[str], message: str | bytes, refused: msgspec.ValidationError) -> UnknownEvent:
    """Tell an event nobody knows from a known one with wrong fields: msgspec says both with one exception."""
    try:
        event_type = _envelope_decoder.decode(message).type
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a message of {len(message)} is not an event: {_reason(error)}") from error
    if event_type in known:
        raise RemoteProtocolError(f"{event_type} has wrong fields: {_reason(refused)}") from refused
    return UnknownEvent(event_type[:MAX_TYPE_CHARS], len(message))


def _reason(error: Exception) -> str:
    """msgspec names the place and the expected type, briefly and never the value; Unicode errors quote the text."""
    return "invalid Unicode" if isinstance(error, UnicodeError) else str(error)

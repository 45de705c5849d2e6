"""Every way the provider misbehaves on request, by name.

A scenario is selected for one connection by the header `X-Emulator-Fault: name,name`, or through the control
endpoints: for the next sessions of one voice, or of any ("*"), or for the next calls of a REST service or of one of
its endpoints ("customization", "customization:create", "modal", "modal:result").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FAULT_HEADER = "x-emulator-fault"
"""Lower case, as ASGI and wsproto deliver names."""

ANY_VOICE = "*"


class Fault(StrEnum):
    """The scenarios; `SCENARIOS` says what each one does and which observation it imitates."""

    WRONG_KEY = "wrong_key"
    WRONG_REGION = "wrong_region"
    MODEL_GONE = "model_gone"
    THROTTLED_UPGRADE = "throttled_upgrade"
    THROTTLED_EVENT = "throttled_event"
    THROTTLED_CLOSE = "throttled_close"
    BAD_VOICE = "bad_voice"
    BAD_VOICE_LATE = "bad_voice_late"
    VOICE_MISMATCH = "voice_mismatch"
    VOICE_GONE = "voice_gone"
    ARREARS = "arrears"
    ERROR_EVENT = "error_event"
    ERROR_THEN_CLOSE = "error_then_close"
    ERROR_AFTER_AUDIO = "error_after_audio"
    CUT = "cut"
    STALL = "stall"
    SLOW_DRIP = "slow_drip"
    NO_PONG = "no_pong"
    GARBAGE = "garbage"
    OVERSIZED_FRAME = "oversized_frame"
    SEVERAL_RESPONSES = "several_responses"
    LATE_DELTAS = "late_deltas"
    ID3_XING = "id3_xing"
    ZERO_AUDIO = "zero_audio"
    RESPONSE_FAILED = "response_failed"
    UNKNOWN_EVENTS = "unknown_events"
    DUPLICATED_IDS = "duplicated_ids"
    CLOSE_AFTER_FINISHED = "close_after_finished"
    NO_CLOSE_AFTER_FINISHED = "no_close_after_finished"
    FALLBACK_MODE = "fallback_mode"
    LOST_ANSWER = "lost_answer"
    LOST_ANSWER_HANG = "lost_answer_hang"
    LOST_ANSWER_CUT = "lost_answer_cut"
    REST_500 = "rest_500"
    REST_HANG = "rest_hang"
    REST_CUT = "rest_cut"
    RECORDING_TOO_SHORT = "recording_too_short"
    RECORDING_SILENT = "recording_silent"
    RECORDING_LOW_RATE = "recording_low_rate"
    RECORDING_TOO_LONG = "recording_too_long"
    TRANSCRIPT_MISMATCH = "transcript_mismatch"
    CONTENT_BLOCKED = "content_blocked"
    VOICE_QUOTA = "voice_quota"
    MODAL_HANG = "modal_hang"
    MODAL_CUT = "modal_cut"
    MODAL_500 = "modal_500"
    MODAL_THROTTLED = "modal_throttled"
    MODAL_STOPPED = "modal_stopped"
    MODAL_MALFORMED = "modal_malformed"
    MODAL_EMPTY = "modal_empty"
    MODAL_SUBMIT_REFUSED = "modal_submit_refused"
    MODAL_PENDING_FOR_EVER = "modal_pending_for_ever"
    MODAL_UNKNOWN_JOB = "modal_unknown_job"
    MODAL_FAILED = "modal_failed"
    MODAL_CANCELLED = "modal_cancelled"
    MODAL_DESIGN_303 = "modal_design_303"


@dataclass(frozen=True, slots=True)
class Scenario:
    """`reference` is the section of the protocol reference that reports the behaviour, or of the v1 contract where it
    says so."""

    reference: str
    does: str


SCENARIOS: dict[Fault, Scenario] = {
    Fault.WRONG_KEY: Scenario("1.2, 3.4", "The key is refused: 401 at the upgrade and on REST."),
    Fault.WRONG_REGION: Scenario("1.2", "The key belongs to the other region: looks exactly like a wrong key."),
    Fault.MODEL_GONE: Scenario("0", "The model was retired: 404 at the upgrade and on REST."),
    Fault.THROTTLED_UPGRADE: Scenario("1.2", "429 answers the upgrade; on REST 429 too."),
    Fault.THROTTLED_EVENT: Scenario("1.8", "A rate-limit error event instead of the first response."),
    Fault.THROTTLED_CLOSE: Scenario("1.8", "The socket closes with a rate-limit reason instead of a response."),
    Fault.BAD_VOICE: Scenario("1.8", "session.update is answered with 'requested voice is not supported'."),
    Fault.BAD_VOICE_LATE: Scenario("1.8", "The same error, but only when the first response should begin."),
    Fault.VOICE_MISMATCH: Scenario("1.8", "The engine refuses a voice that its model does not have: its code 411."),
    Fault.VOICE_GONE: Scenario("1.8, 3.4", "session.update is answered with 'voice not found', as REST says it."),
    Fault.ARREARS: Scenario("1.8", "Close 1007 when the first response should begin, without an error event."),
    Fault.ERROR_EVENT: Scenario("1.8", "An internal error event instead of the first delta; the socket stays open."),
    Fault.ERROR_THEN_CLOSE: Scenario("1.8", "An internal error event instead of the first delta, then close 1011."),
    Fault.ERROR_AFTER_AUDIO: Scenario("1.8", "An internal error event after three deltas; the socket stays open."),
    Fault.CUT: Scenario("1.8", "After three deltas the connection ends in the middle of a frame: code 1006."),
    Fault.STALL: Scenario("1.6", "After three deltas nothing comes any more; the socket stays open."),
    Fault.SLOW_DRIP: Scenario("1.9", "Five times slower than real pace: gaps of one and a half seconds."),
    Fault.NO_PONG: Scenario("1.8", "Pings are not answered."),
    Fault.GARBAGE: Scenario("1.1", "After two deltas a text frame that is not JSON."),
    Fault.OVERSIZED_FRAME: Scenario("1.9", "After two deltas a frame of 5 MiB, past every client's limit."),
    Fault.SEVERAL_RESPONSES: Scenario("1.6", "Every 40 characters are a response of their own."),
    Fault.LATE_DELTAS: Scenario("1.5", "The last two deltas of a response come after its response.done."),
    Fault.ID3_XING: Scenario("2", "MP3 responses begin with ID3v2 and an Info frame and end with ID3v1."),
    Fault.ZERO_AUDIO: Scenario("1.3", "Responses complete without a single delta."),
    Fault.RESPONSE_FAILED: Scenario("1.4", "Responses end with status failed after their audio."),
    Fault.UNKNOWN_EVENTS: Scenario("1.4", "Events of unknown types between the deltas."),
    Fault.DUPLICATED_IDS: Scenario("1.4", "Every event has the same event_id, every response the same id."),
    Fault.CLOSE_AFTER_FINISHED: Scenario("1.8", "The server closes after session.finished, as the docs say."),
    Fault.NO_CLOSE_AFTER_FINISHED: Scenario("1.8", "The default, as recorded: it waits for the client's close."),
    Fault.FALLBACK_MODE: Scenario("3.1", "A clone is made, but degraded: fallback_mode in the answer."),
    Fault.LOST_ANSWER: Scenario("3.4", "A voice is created and billed, but the answer is a 500."),
    Fault.LOST_ANSWER_HANG: Scenario("3", "A voice is created and billed, but no answer ever comes."),
    Fault.LOST_ANSWER_CUT: Scenario("3", "A voice is created and billed, but the connection ends in the answer."),
    Fault.REST_500: Scenario("3.4", "An internal error; nothing was done. On create it looks like lost_answer."),
    Fault.REST_HANG: Scenario("3", "No answer ever comes, and nothing was done."),
    Fault.REST_CUT: Scenario("3", "The connection ends in the middle of an answer, and nothing was done."),
    Fault.RECORDING_TOO_SHORT: Scenario("3.4", "Any recording counts as one with too little speech."),
    Fault.RECORDING_SILENT: Scenario("3.4", "Any recording counts as silent."),
    Fault.RECORDING_LOW_RATE: Scenario("3.4", "Any recording counts as sampled below 24 kHz."),
    Fault.RECORDING_TOO_LONG: Scenario("3.4", "Any recording counts as longer than a minute."),
    Fault.TRANSCRIPT_MISMATCH: Scenario("3.1, 3.4", "Any transcript counts as one of something else."),
    Fault.CONTENT_BLOCKED: Scenario("3.4", "Moderation refuses the create."),
    Fault.VOICE_QUOTA: Scenario("3.3, 3.4", "The account counts as full: no voice is created."),
    Fault.MODAL_HANG: Scenario("v1 contract 4.4", "No answer ever comes, and nothing was done."),
    Fault.MODAL_CUT: Scenario("v1 contract 4.3", "All is done, and billed, but the connection ends in the answer."),
    Fault.MODAL_500: Scenario("v1 contract 4.2", "500 with a detail; nothing was done."),
    Fault.MODAL_THROTTLED: Scenario("v1 contract 4.3", "429: any status that is no success is an error of the call."),
    Fault.MODAL_STOPPED: Scenario("v1 contract 4.3", "404 without JSON, as for an app that was stopped."),
    Fault.MODAL_MALFORMED: Scenario("v1 contract 4.4", "200 with JSON that ends in the middle, also for audio."),
    Fault.MODAL_EMPTY: Scenario("v1 contract 4.3", "200 with an empty body."),
    Fault.MODAL_SUBMIT_REFUSED: Scenario("v1 contract 4.2", "400 with a detail for what was submitted or designed."),
    Fault.MODAL_PENDING_FOR_EVER: Scenario(
        "v1 contract 4.2", "Status: running; result, and a design after its 303: 202. For ever."
    ),
    Fault.MODAL_UNKNOWN_JOB: Scenario("v1 contract 4.2, 4.4", "No job has this id, as after it expired."),
    Fault.MODAL_FAILED: Scenario("v1 contract 4.2", "Jobs fail: those submitted under it for good, others meanwhile."),
    Fault.MODAL_CANCELLED: Scenario("v1 contract 2.1, 4.4", "Jobs count as cancelled, by nobody we know."),
    Fault.MODAL_DESIGN_303: Scenario("v1 contract 4.3", "A design outlives its request: 303, and the audio is there."),
}


class UnknownFault(Exception):
    """Names that are no scenario."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"no such fault: {', '.join(names)}; there are {', '.join(Fault)}")


def parse_faults(names: list[str]) -> frozenset[Fault]:
    """The scenarios with these names, blanks ignored. Raises `UnknownFault` naming all unknown ones."""
    wanted = [name.strip() for name in names if name.strip()]
    unknown = [name for name in wanted if name not in set(Fault)]
    if unknown:
        raise UnknownFault(unknown)
    return frozenset(Fault(name) for name in wanted)


@dataclass(slots=True)
class _Order:
    faults: frozenset[Fault]
    times: int | None


class FaultBook:
    """Faults ordered through the control endpoints, by voice id, "*" or REST key, for `times` sessions or calls, or for
    good (None)."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    def order(self, voice: str, faults: frozenset[Fault], times: int | None) -> None:
        """From now on, instead of what was ordered for this voice before."""
        self._orders[voice] = _Order(faults, times)

    def clear(self) -> None:
        """Behave again."""
        self._orders.clear()

    def active(self) -> dict[str, list[str]]:
        """What is ordered, by voice."""
        return {voice: sorted(order.faults) for voice, order in self._orders.items()}

    def take(self, voice: str) -> frozenset[Fault]:
        """The faults ordered for exactly this key; counts as one of its `times`."""
        order = self._orders.get(voice)
        if order is None:
            return frozenset()
        if order.times is not None:
            order.times -= 1
            if order.times <= 0:
                del self._orders[voice]
        return order.faults

"""What goes wrong at the customization endpoint: before anything is done, instead of a create, or after one."""

from __future__ import annotations

from collections.abc import Mapping

from bench.emulator import vendor_errors
from bench.emulator.faults import Fault
from bench.emulator.realtime import UPGRADE_FAULTS
from bench.emulator.vendor_errors import VendorAnswer, VendorRefusal

CUSTOMIZATION = "customization"
"""The key under which faults of all actions are ordered; "customization:list" is that of one."""

ACTIONS = ("create", "list", "query", "delete")

CREATE_REFUSALS: dict[Fault, VendorAnswer] = {
    Fault.CONTENT_BLOCKED: vendor_errors.CONTENT_BLOCKED,
    Fault.VOICE_QUOTA: vendor_errors.VOICE_QUOTA,
}
"""Nothing is created or billed (protocol reference 3.4)."""

CLONE_REFUSALS: dict[Fault, VendorAnswer] = CREATE_REFUSALS | {
    Fault.RECORDING_TOO_SHORT: vendor_errors.TOO_SHORT,
    Fault.RECORDING_SILENT: vendor_errors.SILENT,
    Fault.RECORDING_LOW_RATE: vendor_errors.LOW_RATE,
    Fault.RECORDING_TOO_LONG: vendor_errors.TOO_LONG,
    Fault.TRANSCRIPT_MISMATCH: vendor_errors.TRANSCRIPT_MISMATCH,
}
"""And what is wrong with a recording, whatever it really is."""


class AnswerLost(Exception):
    """Raised where the caller gets no answer: the connection is `cut` in the middle of one, or none ever comes."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__("cut" if cut else "silence")
        self.cut = cut


def before_any(faults: frozenset[Fault]) -> None:
    """What prevents every action. Raises `VendorRefusal` and `AnswerLost`."""
    _refuse(faults, UPGRADE_FAULTS | {Fault.REST_500: vendor_errors.INTERNAL_ERROR})
    _lose(faults, hang=Fault.REST_HANG, cut=Fault.REST_CUT)


def before_clone(faults: frozenset[Fault]) -> None:
    """Raises `VendorRefusal`."""
    _refuse(faults, CLONE_REFUSALS)


def before_design(faults: frozenset[Fault]) -> None:
    """Raises `VendorRefusal`."""
    _refuse(faults, CREATE_REFUSALS)


def after_create(faults: frozenset[Fault]) -> None:
    """The voice is there, and billed. Raises `VendorRefusal` and `AnswerLost`."""
    _refuse(faults, {Fault.LOST_ANSWER: vendor_errors.CREATE_TIMED_OUT})
    _lose(faults, hang=Fault.LOST_ANSWER_HANG, cut=Fault.LOST_ANSWER_CUT)


def _refuse(faults: frozenset[Fault], refusals: Mapping[Fault, VendorAnswer]) -> None:
    for fault in faults:
        if fault in refusals:
            raise VendorRefusal(refusals[fault])


def _lose(faults: frozenset[Fault], *, hang: Fault, cut: Fault) -> None:
    if faults & {hang, cut}:
        raise AnswerLost(cut=cut in faults)

"""Checks, and how they are run: side by side, each bounded, none hiding another (product section 16).

A check looks at one thing and says what it found in words, and what to do about it. What it needs to have been found
in order first, it names; then it is not run, instead of repeating the other's complaint.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import anyio
import msgspec
import structlog

from gateway.findings import Finding, Verdict
from gateway.settings import ProviderMode, Settings

CHECK_SECONDS = 45.0
"""Longest a check may take. Each bounds what it waits for itself; this is for the one that does not."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.doctor")


class ExitStatus(IntEnum):
    """Of `utter doctor`; 2 is left to a wrong command line. Of several, the first of 1, 4, 3, 0."""

    OK = 0
    FAILED = 1
    """New work would fail."""
    WARNINGS = 3
    """All works, but something should be put right."""
    STANDBY = 4
    """All works, but the lane to switch to in trouble does not."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found. `remedy` says what to do, "" where nothing is to be done."""

    verdict: Verdict
    detail: str
    remedy: str = ""


def ok(detail: str) -> Result:
    """As it should be."""
    return Result(Verdict.OK, detail)


def warning(detail: str, remedy: str) -> Result:
    """Works, but not as it should."""
    return Result(Verdict.WARNING, detail, remedy)


def failed(detail: str, remedy: str) -> Result:
    """Does not work."""
    return Result(Verdict.FAILED, detail, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """`needs` is the name of the check without which this one could only repeat its complaint. What belongs to a `lane`
    is no failure while the other one is active."""

    name: str
    look: Callable[[Settings], Awaitable[Result]]
    needs: str | None = None
    lane: ProviderMode | None = None


class Diagnosis(Finding, frozen=True):
    """One line of the report. `standby`: it is about the lane that is not active."""

    standby: bool = False


class Report(msgspec.Struct, frozen=True):
    """All findings, in the order of the checks."""

    exit_status: ExitStatus
    findings: list[Diagnosis]

    @classmethod
    def of(cls, findings: list[Diagnosis]) -> Report:
        return cls(_exit_status(findings), findings)


async def run(checks: Sequence[Check], settings: Settings) -> list[Diagnosis]:
    """What every check found, in their order. Nothing a check raises ends the others."""
    results: dict[str, tuple[Result, float]] = {}
    done = {check.name: anyio.Event() for check in checks}

    async def perform(check: Check) -> None:
        if check.needs is not None:
            await done[check.needs].wait()
        began = time.monotonic()
        result = _not_looked_at(check, results) or await _look(check, settings)
        results[check.name] = (result, time.monotonic() - began)
        done[check.name].set()

    async with anyio.create_task_group() as tasks:
        for check in checks:
            tasks.start_soon(perform, check)
    return [_finding(check, *results[check.name], settings.provider_mode) for check in checks]


def _not_looked_at(check: Check, results: dict[str, tuple[Result, float]]) -> Result | None:
    if check.needs is None or results[check.needs][0].verdict in {Verdict.OK, Verdict.WARNING}:
        return None
    return Result(Verdict.NOT_RUN, f"Not looked at, because of {check.needs}.")


async def _look(check: Check, settings: Settings) -> Result:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            return await check.look(settings)
    except TimeoutError:
        return failed(f"It did not come to an end within {CHECK_SECONDS:.0f} s.", "Try again; something hangs.")
    except Exception as error:  # a defect of one check must not cost the findings of the others
        _log.exception("doctor.check_failed", check=check.name)
        return failed(
            f"The check itself broke off: {type(error).__name__}.", "Its traceback is in the log; please report it."
        )


def _finding(check: Check, result: Result, seconds: float, mode: ProviderMode) -> Diagnosis:
    standby = check.lane not in {None, mode}
    verdict = Verdict.WARNING if standby and result.verdict is Verdict.FAILED else result.verdict
    return Diagnosis(check.name, verdict, result.detail, result.remedy, round(seconds, 3), standby)


def _exit_status(findings: Sequence[Diagnosis]) -> ExitStatus:
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAILED in verdicts:
        return ExitStatus.FAILED
    if any(finding.standby and finding.verdict is Verdict.WARNING for finding in findings):
        return ExitStatus.STANDBY
    return ExitStatus.WARNINGS if Verdict.WARNING in verdicts else ExitStatus.OK

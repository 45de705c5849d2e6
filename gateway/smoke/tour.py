"""Going round: every check in turn, a remedy for each that fails, and nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import msgspec

from gateway.findings import Finding, Verdict
from gateway.sample_recording import sample_recording
from gateway.shutdown import STOP_SIGNALS
from gateway.smoke.checks import LIST, Check
from gateway.smoke.scene import Scene, Skipped
from gateway.task_groups import open_task_group
from gateway.visitor import Surprise, Visitor, open_http

CHECK_SECONDS = 240.0
"""Longest a check may take. Each bounds what it waits for itself; this is for the one that does not."""

CLEAR_SECONDS = 60.0
"""Longest wait for what was made to be deleted again."""

CLEAR_REMEDY = "Delete them on the page, or by the API: voices, and what they have spoken."

REMEDIES = {
    401: "The token is wrong or over: give a fresh one. They live an hour.",
    426: "A proxy on the way speaks HTTP/1.0: `proxy_http_version 1.1`.",
    502: "The provider refuses the deployment: `utter doctor` there says whether it is key, bill, quota or model.",
    503: "It is overloaded, or something it depends on is away: GET /api/ready says what.",
    504: "The provider is slow, or a proxy gives up early: its read timeout must be above 60 s.",
}
"""What to do by the status of an answer that was not the one due, whatever the check."""


class SmokeReport(msgspec.Struct, frozen=True):
    """`passed`: every check is in order, and none was left out that was not to be."""

    passed: bool
    interrupted: bool
    base_url: str
    seconds: float
    findings: list[Finding]


async def go_round(
    base_url: str, token: str, other_token: str | None, *, allow_skips: bool, say: Callable[[str], None]
) -> SmokeReport:
    """Go through the list as the user of `token`. `say` is told what is going on, in a line each.

    SIGINT and SIGTERM end it early: what was made is deleted then, too. Raises `NoRecording`.
    """
    began = time.monotonic()
    recording = await sample_recording()
    async with open_http() as http:
        stranger = None if other_token is None else Visitor(http, base_url, other_token)
        tour = _Tour(Scene(Visitor(http, base_url, token), stranger, recording), say)
        await tour.go()
    bad = {Verdict.FAILED} if allow_skips and not tour.interrupted else {Verdict.FAILED, Verdict.NOT_RUN}
    passed = not any(finding.verdict in bad for finding in tour.findings)
    return SmokeReport(passed, tour.interrupted, base_url, round(time.monotonic() - began, 2), tour.findings)


@dataclass
class _Tour:
    scene: Scene
    say: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)
    interrupted: bool = False

    async def go(self) -> None:
        async with open_task_group() as tasks:
            tasks.start_soon(self._watch_for_signals, tasks.cancel_scope)
            try:
                for check in LIST:
                    await self._perform(check)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end()
            tasks.cancel_scope.cancel()

    async def _watch_for_signals(self, scope: anyio.CancelScope) -> None:
        # Only the first is caught: the second one ends the process as if nobody listened.
        with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
            async for _ in signals:
                self.interrupted = True
                self.say(f"Interrupted. What was made, as {self.scene.name!r}, is deleted. A second time: it is not.")
                scope.cancel()
                break

    async def _perform(self, check: Check) -> None:
        self.say(f"{check.name} ...")
        began = time.monotonic()
        found = self._left_out(check) or await _look(check, self.scene)
        self.findings.append(msgspec.structs.replace(found, seconds=round(time.monotonic() - began, 3)))

    def _left_out(self, check: Check) -> Finding | None:
        """A check whose needs were not met could only repeat the other's complaint."""
        for earlier in self.findings:
            if earlier.check == check.needs and earlier.verdict is not Verdict.OK:
                return Finding(check.name, Verdict.NOT_RUN, f"Not looked at, because of {check.needs}.")
        return None

    async def _end(self) -> None:
        known = {finding.check for finding in self.findings}
        self.findings += [
            Finding(check.name, Verdict.NOT_RUN, "Interrupted.") for check in LIST if check.name not in known
        ]
        self.say("clean-up ...")
        began, left = time.monotonic(), [f"It took longer than {CLEAR_SECONDS:.0f} s."]
        with anyio.move_on_after(CLEAR_SECONDS):
            left = await self.scene.clear_away()
        seconds = round(time.monotonic() - began, 3)
        if left:
            words = f"Something may be left of {self.scene.name!r}: {' '.join(left)}"
            self.findings.append(Finding("clean-up", Verdict.FAILED, words, CLEAR_REMEDY, seconds))
        else:
            self.findings.append(Finding("clean-up", Verdict.OK, "Nothing is left.", seconds=seconds))


async def _look(check: Check, scene: Scene) -> Finding:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            return Finding(check.name, Verdict.OK, await check.look(scene))
    except Skipped as skipped:
        return Finding(check.name, Verdict.NOT_RUN, str(skipped))
    except Surprise as surprise:
        remedy = REMEDIES.get(surprise.status or 0, check.remedy)
        return Finding(check.name, Verdict.FAILED, str(surprise), remedy)
    except TimeoutError:
        words = f"It did not come to an end within {CHECK_SECONDS:.0f} s."
        return Finding(check.name, Verdict.FAILED, words, check.remedy)
    except Exception as error:  # what answers may be no gateway at all; that must not hide the other findings
        words = f"The answers cannot be made sense of: {type(error).__name__}: {error}"
        return Finding(check.name, Verdict.FAILED, words, check.remedy)

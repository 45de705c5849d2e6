"""Is this deployment fit to run? Settings, database, object store, both lanes and clocks, each looked at for real
(product section 16). Nothing is billed, and nothing but probes is written, which are removed again."""

from __future__ import annotations

from gateway.doctor import database, modal, places, qwen, sign_in
from gateway.doctor.checkup import Diagnosis, ExitStatus, Report, run
from gateway.findings import Verdict
from gateway.settings import Settings, SettingsError

__all__ = ["Diagnosis", "ExitStatus", "Report", "examine", "unusable"]


async def examine(settings: Settings, *, probe_other_region: bool = False) -> Report:
    """Everything that is right and wrong with the deployment.

    `probe_other_region` shows the key to the vendor's other region when its own refuses it.
    """
    checks = (
        *database.CHECKS,
        *places.CHECKS,
        *sign_in.CHECKS,
        *qwen.checks(probe_other_region=probe_other_region),
        *modal.CHECKS,
    )
    words = f"They can be used: {settings.provider_mode} mode in {settings.env}."
    return Report.of([Diagnosis("settings", Verdict.OK, words), *await run(checks, settings)])


def unusable(error: SettingsError) -> Report:
    """Of settings that cannot be used: nothing else can be looked at then. Each problem says what to do about it."""
    return Report.of([Diagnosis("settings", Verdict.FAILED, problem) for problem in error.problems])

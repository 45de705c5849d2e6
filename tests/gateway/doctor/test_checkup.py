"""How checks are run and summed up."""

from __future__ import annotations

import anyio
import pytest

from gateway.doctor import checkup
from gateway.doctor.checkup import Check, ExitStatus, Report, Result, failed, ok, run, warning
from gateway.findings import Verdict
from gateway.settings import ProviderMode, Settings, load_settings
from tests.support.cli import STAGING

pytestmark = pytest.mark.anyio

SETTINGS = load_settings(STAGING)


def says(result: Result, name: str, **more: object) -> Check:
    async def look(_settings: Settings) -> Result:
        return result

    return Check(name, look, **more)  # type: ignore[arg-type]  # the test's own words


WELL = says(ok("fine"), "well")
ILL = says(failed("broken", "mend it"), "ill")
AILING = says(warning("not quite", "see to it"), "ailing")
STANDBY = says(failed("broken", "mend it"), "standby", lane=ProviderMode.MODAL)
ACTIVE = says(failed("broken", "mend it"), "active", lane=ProviderMode.QWEN)


@pytest.mark.parametrize(
    ("checks", "exit_status"),
    [
        ([WELL], ExitStatus.OK),
        ([WELL, AILING], ExitStatus.WARNINGS),
        ([WELL, AILING, STANDBY], ExitStatus.STANDBY),
        ([ILL, AILING, STANDBY], ExitStatus.FAILED),
        ([ACTIVE], ExitStatus.FAILED),
    ],
)
async def test_the_worst_finding_decides(checks: list[Check], exit_status: ExitStatus) -> None:
    findings = await run(checks, SETTINGS)
    assert [finding.check for finding in findings] == [check.name for check in checks]
    assert Report.of(findings).exit_status is exit_status


async def test_what_needs_a_failure_is_skipped_and_what_needs_that_too() -> None:
    lame = says(ok("fine"), "lame", needs="ill")
    lamer = says(ok("fine"), "lamer", needs="lame")
    fit = says(ok("fine"), "fit", needs="ailing")
    found = {finding.check: finding for finding in await run([lamer, lame, fit, ILL, AILING], SETTINGS)}
    assert found["lame"].verdict is found["lamer"].verdict is Verdict.NOT_RUN
    assert found["lame"].detail == "Not looked at, because of ill."
    assert found["fit"].verdict is Verdict.OK


async def test_a_check_that_breaks_off_costs_no_other_finding() -> None:
    async def break_off(_settings: Settings) -> Result:
        raise LookupError("what nobody thought of")

    broken, well = await run([Check("defect", break_off), WELL], SETTINGS)
    assert broken.verdict is Verdict.FAILED
    assert "LookupError" in broken.detail
    assert "thought of" not in broken.detail
    assert well.verdict is Verdict.OK


async def test_a_check_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "CHECK_SECONDS", 0.01)

    async def hang(_settings: Settings) -> Result:
        await anyio.sleep_forever()
        raise AssertionError("it woke up")

    hung, well = await run([Check("hung", hang), WELL], SETTINGS)
    assert "did not come to an end" in hung.detail
    assert well.verdict is Verdict.OK

"""What Prometheus is told: exact counts of what happened, and only at its own address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import REGISTRY
from gateway.metrics.pace import Pace
from gateway.metrics.serving import FOLDER_VARIABLE, gathering_metrics, serving_metrics
from gateway.net import Bind
from gateway.server import CannotListen
from protocol.errors import Fault
from tests.support.gateway import Caller, Gateway, speech

ANYWHERE = Bind("127.0.0.1", 0)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Counted:
    """What the counters gained since."""

    def __init__(self) -> None:
        self._before = self._now()

    def gained(self) -> dict[str, float]:
        before = self._before
        return {name: gain for name, now in self._now().items() if (gain := now - before.get(name, 0.0))}

    def _now(self) -> dict[str, float]:
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name.endswith(("_total", "_count")) and not family.name.endswith("_seconds")
        }


@pytest.mark.anyio
@pytest.mark.integration
class TestCounts:
    async def test_a_stream_that_is_heard(self, gateway: Gateway, ada: Caller) -> None:
        voice, counted = await ada.add_voice(), Counted()
        times = value("utter_generation_seconds_count", provider="qwen")
        async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Good morning.")) as exchange:
            await gateway.stage.say(b"x" * 2000)
            await exchange.answered()
            assert value("utter_listeners") == 1
            assert value("utter_active_sessions") == 1
            gateway.stage.finish()
            await exchange.over()
            await gateway.services.supervisor.wait_idle()
        assert counted.gained() == {
            "utter_starts_total['begun', 'generate_stream']": 1,
            "utter_generations_total['completed', 'generate_stream', 'qwen']": 1,
            "utter_billed_characters_total[]": len("Good morning."),
        }
        assert value("utter_generation_seconds_count", provider="qwen") == times + 1
        assert (value("utter_listeners"), value("utter_active_sessions")) == (0, 0)

    async def test_one_that_the_provider_fails_before_its_audio(self, gateway: Gateway, ada: Caller) -> None:
        voice, counted = await ada.add_voice(), Counted()
        async with ada.listening("/api/generate/stream", "POST", speech(voice.id, "Good morning.")) as exchange:
            await gateway.stage.began()
            gateway.stage.fail(Fault.ACCOUNT_ARREARS)
            await exchange.over()
            await gateway.services.supervisor.wait_idle()
        assert counted.gained() == {
            "utter_starts_total['failed', 'generate_stream']": 1,
            "utter_generations_total['failed', 'generate_stream', 'qwen']": 1,
            "utter_provider_failures_total['account_arrears', 'no', 'provider_rejected', 'qwen']": 1,
        }

    async def test_a_task_that_is_cancelled(self, gateway: Gateway, ada: Caller) -> None:
        voice, counted = await ada.add_voice(), Counted()
        task = (await ada.generate(voice.id)).json()["task_id"]
        await gateway.stage.began()
        assert (await ada.ask("POST", f"/api/tasks/{task}/cancel")).status == 200
        assert counted.gained() == {
            "utter_starts_total['begun', 'generate']": 1,
            "utter_generations_total['cancelled', 'generate', 'qwen']": 1,
            "utter_cancels_total['ended']": 1,
        }

    async def test_what_a_client_gets_wrong_is_no_failed_start(self, ada: Caller) -> None:
        counted = Counted()
        assert (await ada.ask("POST", "/api/generate", body=b"{}")).status == 400
        assert (await ada.generate(ada.id)).status == 404
        assert counted.gained() == {}

    async def test_the_public_port_does_not_tell(self, ada: Caller) -> None:
        for path in ("/metrics", "/api/metrics"):
            assert (await ada.ask("GET", path)).status == 404


class TestPace:
    def gained(self, *deliveries: tuple[float, float]) -> tuple[float, float]:
        names = ("utter_underruns_total", "utter_underrun_seconds_total")
        before = [value(name) for name in names]
        pace = Pace()
        for total, now in deliveries:
            pace.delivered(total, now)
        return value(names[0]) - before[0], round(value(names[1]) - before[1], 6)

    def test_speech_that_comes_in_time(self) -> None:
        assert self.gained((1.0, 10.0), (2.0, 10.9), (5.0, 11.0), (6.0, 14.9)) == (0, 0)

    def test_a_gap_is_counted_once_and_moves_what_comes_after(self) -> None:
        assert self.gained((1.0, 10.0), (2.0, 11.5), (3.0, 12.4)) == (1, 0.5)

    def test_before_the_first_piece_nobody_listens(self) -> None:
        assert self.gained((0.5, 99.0)) == (0, 0)


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own
        families = text_string_to_metric_families(answer.read().decode())
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def test_it_is_served_at_its_own_address(capsys: pytest.CaptureFixture[str]) -> None:
    with serving_metrics(ANYWHERE):
        url = capsys.readouterr().out.split("url=")[1].split()[0]
        assert "utter_active_sessions" in scraped(url)
    with pytest.raises(OSError, match="refused"):
        scraped(url)


def test_an_address_that_is_taken_is_said_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = Bind("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen, match=f"Metrics cannot be served at {bind}"), serving_metrics(bind):
            pass


WORKER = """
from gateway.metrics import SESSIONS, UNDERRUNS
UNDERRUNS.inc(3)
SESSIONS.inc()
print(flush=True)
input()
"""


@pytest.mark.slow
def test_what_several_processes_count_is_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def worker() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    with gathering_metrics(ANYWHERE) as forget_gauges:
        folder = Path(os.environ[FOLDER_VARIABLE])
        url = capsys.readouterr().out.split("url=")[1].split()[0]
        with worker() as one, worker() as other:
            found = scraped(url)
            assert (found["utter_underruns_total"], found["utter_active_sessions"]) == (6, 2)
            one.communicate("\n")
            forget_gauges(one.pid)
            found = scraped(url)
            assert (found["utter_underruns_total"], found["utter_active_sessions"]) == (6, 1)
            other.communicate("\n")
    assert not folder.exists()
    assert FOLDER_VARIABLE not in os.environ


@pytest.mark.parametrize("text", ["", "9100", "localhost", "http://127.0.0.1:9100", "a@b:1", "h:1/x", "h:99999", "h:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address and a port|[Pp]ort"):
        Bind.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:9100", "[::1]:0", "metrics.internal:80"])
def test_addresses(text: str) -> None:
    assert str(Bind.parse(text)) == text

"""The emulator as a process: its start, its end, and what it remembers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosedError

from bench.cli import main
from tests.bench.realtime_client import dial, speak
from tests.support.emulator import FAST, STOP_SECONDS, Emulator, start_emulator

pytestmark = pytest.mark.integration

TEXT = "A sentence that is long enough for a handful of deltas, and then for some more of them."


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator that the test may end."""
    with start_emulator(tmp_path / "state") as running:
        yield running


class Family:
    """The emulator and the processes it started, held by pidfd: a zombie that nobody reaps counts as ended."""

    def __init__(self, emulator: Emulator) -> None:
        process = psutil.Process(emulator.process.pid)
        self.members = [process, *process.children(recursive=True)]
        self._handles = [os.pidfd_open(member.pid) for member in self.members]

    def assert_ended(self) -> None:
        for handle, member in zip(self._handles, self.members, strict=True):
            readable, _, _ = select.select([handle], [], [], STOP_SECONDS)
            os.close(handle)
            assert readable, f"{member} still runs"


def test_kill_9_keeps_voices_and_bill(tmp_path: Path) -> None:
    with start_emulator(tmp_path / "state") as first:
        cloned, designed = first.clone("kept"), first.design("kept")
        speak(first, cloned, TEXT)
        bill = first.billing()
        family = Family(first)
        first.process.kill()
        family.assert_ended()
    assert bill == {"characters": len(TEXT), "clones": 1, "designs": 1, "modal_jobs": 0, "modal_designs": 0}
    with start_emulator(tmp_path / "state") as second:
        assert second.billing() == bill
        assert second.sessions() == []
        assert speak(second, cloned, TEXT).deltas
        listed = second.customize({"model": "qwen-voice-design", "input": {"action": "list"}}).json()
        assert [row["voice"] for row in listed["output"]["voice_list"]] == [designed]


def test_kill_9_in_the_middle_of_speech_keeps_what_was_billed(tmp_path: Path) -> None:
    with start_emulator(tmp_path / "state", ("--speed", "1")) as first, dial(first) as client:
        client.update(first.clone())
        client.append(TEXT)
        client.send("session.finish")
        client.receive_until("response.audio.delta")
        first.process.kill()
    with start_emulator(tmp_path / "state") as second:
        assert second.billing()["characters"] == len(TEXT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_process(own: Emulator, number: signal.Signals) -> None:
    family = Family(own)
    assert len(family.members) == 2, "the emulator and its speech worker"
    with dial(own, faults="stall") as client:
        client.update(own.clone())
        client.append(TEXT)
        client.send("session.finish")
        client.receive_until("response.audio.delta")
        own.process.send_signal(number)
        family.assert_ended()
    assert own.process.wait(STOP_SECONDS) == 0


def test_it_ends_with_its_parent_if_asked_to(tmp_path: Path) -> None:
    with start_emulator(tmp_path / "state", (*FAST, "--exit-with-parent")) as running:
        family = Family(running)
        assert running.process.stdin is not None
        running.process.stdin.close()
        family.assert_ended()
        assert running.process.wait(STOP_SECONDS) == 0


def test_a_dead_speech_worker_is_replaced(own: Emulator) -> None:
    voice = own.clone()
    (worker,) = psutil.Process(own.process.pid).children()
    worker.kill()
    with dial(own) as client:
        client.update(voice)
        client.append(TEXT)
        client.send("session.finish")
        assert client.receive_until("error")["error"]["code"] == "InternalError"
    assert speak(own, voice, TEXT).deltas


def test_an_idle_session_expires(tmp_path: Path) -> None:
    with start_emulator(tmp_path / "state", (*FAST, "--idle-seconds", "0.2")) as running, dial(running) as client:
        assert "request timeout" in client.receive_until("error")["error"]["message"]
        with pytest.raises(ConnectionClosedError) as closed:
            client.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert running.process.returncode == 0


def test_a_long_text_blocks_nobody(tmp_path: Path) -> None:
    with start_emulator(tmp_path / "state", ("--speed", "1", "--first-audio-delay", "0")) as running:
        voice = running.clone()
        with dial(running) as long, dial(running) as short:
            long.update(voice, language_type="Japanese")
            long.append("日本語の文章です。" * 222)
            long.send("session.finish")
            long.receive_until("response.audio.delta")
            short.update(voice)
            short.append("Hello there.")
            short.send("session.finish")
            short.receive_until("session.finished")
            last = len(long.heard.deltas)
            began = time.monotonic()
            while time.monotonic() < began + 0.5:
                running.billing()
            long.receive_until("response.audio.delta")
            assert len(long.heard.deltas) == last + 1


def test_the_state_folder_holds_only_whole_files(own: Emulator) -> None:
    own.clone()
    assert {path.name for path in own.state.iterdir()} == {"voices.json", "bill.json", "creates.json"}
    assert json.loads((own.state / "bill.json").read_bytes()) == own.billing()


def test_a_port_in_use_ends_the_start_with_words(own: Emulator, tmp_path: Path) -> None:
    port = own.rest_url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "bench", "emulate", "--state", str(tmp_path / "other"), "--rest-port", port]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert "cannot listen" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_strange_state_folder_ends_the_start_with_words(tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_text("not a bill")
    command = [sys.executable, "-m", "bench", "emulate", "--state", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert failed.returncode == 1
    assert "bill.json is not an emulator's state" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_control_refuses_a_malformed_order(own: Emulator) -> None:
    for body in (
        b"nonsense",
        b'{"voice":"*","faults":["bogus"]}',
        b'{"voice":"a-voice","faults":["wrong_key"]}',
    ):
        answer = httpx.put(f"{own.rest_url}/_emulator/faults", content=body, trust_env=False)
        assert answer.status_code == 400
        assert answer.json()["detail"]


def test_the_control_endpoint_lists_every_fault(own: Emulator) -> None:
    own.order_faults("*", "stall", times=3)
    answer = httpx.get(f"{own.rest_url}/_emulator/faults", trust_env=False).json()
    assert answer["active"] == {"*": ["stall"]}
    assert answer["known"]["cut"]["reference"] == "1.8"


def test_record_writes_a_recording_that_can_be_cloned(tmp_path: Path, own: Emulator) -> None:
    file = tmp_path / "voice.wav"
    text = "Good morning. This is how I speak when I read a few sentences aloud, calmly and clearly, to be cloned."
    command = [sys.executable, "-m", "bench", "record", "--text", text, "--language", "en", "-o"]
    subprocess.run([*command, str(file)], check=True, timeout=30)
    with wave.open(str(file)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (24000, 1, 2)
        assert 3 < recording.getnframes() / 24000 < 20
    piped = subprocess.run([*command, "-"], check=True, timeout=30, capture_output=True)
    assert piped.stdout == file.read_bytes()


def test_record_of_nothing_fails_in_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "record", "--text", "", "-o", str(tmp_path / "none.wav")]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert failed.returncode == 1
    assert "nothing to say" in failed.stderr
    assert not (tmp_path / "none.wav").exists()


def test_the_dispatcher_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "emulate" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["bogus"]) == 2


def test_the_ready_line_names_the_process(own: Emulator) -> None:
    assert os.getpgid(own.process.pid)
    assert own.realtime_url.endswith("/api-ws/v1/realtime")

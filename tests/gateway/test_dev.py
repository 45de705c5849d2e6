"""The parts of `utter dev` that need no whole product: its folder, its settings, its children, its words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from gateway.data_dir import DEFAULT_DATA_DIR, AlreadyRunning, Child, DataDir, RunRecord
from gateway.demo import CLONED_VOICE, MODAL_CLONED_VOICE
from gateway.dev import end_leftovers, environment
from gateway.emulator_process import ChildDied, EmulatorAddress, open_emulator
from gateway.greeting import greeting
from gateway.settings import ProviderMode, load_settings
from gateway.task_groups import open_task_group, unwrapped

ADDRESS = EmulatorAddress(
    rest_url="http://127.0.0.1:1",
    realtime_url="ws://127.0.0.1:2/api-ws/v1/realtime",
    modal_url="http://127.0.0.1:1/modal",
)
DATABASE = "postgresql://utter@/utter?host=%2Ftmp%2Fsocket"


def record(**changes: object) -> RunRecord:
    known = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "base_url": "http://127.0.0.1:8080",
        "demo_user": "5a17e000-0000-4000-8000-000000000001",
        "admin_url": DATABASE,
        "emulator_rest_url": ADDRESS.rest_url,
        "emulator_realtime_url": ADDRESS.realtime_url,
        "children": [],
    }
    return RunRecord(**{**known, **changes})  # type: ignore[arg-type]  # each by its name


class TestDataDir:
    def test_secrets_are_made_once_and_are_the_owners_only(self, tmp_path: Path) -> None:
        secrets = DataDir(tmp_path / "new").secrets()
        assert DataDir(tmp_path / "new").secrets() == secrets
        assert len({secrets.token_secret, secrets.signing_secret, secrets.emulator_key}) == 3
        assert (tmp_path / "new" / "secrets.json").stat().st_mode & 0o077 == 0

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        home = DataDir(tmp_path)
        with home.locked(), pytest.raises(AlreadyRunning, match="in use by another"), DataDir(tmp_path).locked():
            pytest.fail("locked twice")
        with DataDir(tmp_path).locked():
            pass

    def test_a_record_counts_while_its_process_lives(self, tmp_path: Path) -> None:
        home = DataDir(tmp_path)
        assert home.running_record() is None
        home.write_record(record())
        assert home.running_record() == record()
        home.write_record(record(started=1.0))  # the id was given to another process since
        assert home.running_record() is None
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        home.write_record(record(pid=ended.pid))
        assert home.running_record() is None
        assert home.read_record() is not None, "the next start looks for what it left behind"
        home.forget_record()
        assert home.read_record() is None


class TestEnvironment:
    def settings(self, tmp_path: Path, **surroundings: str) -> dict[str, str]:
        home = DataDir(tmp_path)
        return environment(surroundings, home, home.secrets(), 0, ADDRESS, DATABASE)

    def test_it_is_complete_by_itself(self, tmp_path: Path) -> None:
        loaded = load_settings(self.settings(tmp_path))
        assert loaded.provider_mode is ProviderMode.QWEN
        assert loaded.dev_tokens

    def test_the_shell_chooses_the_mode_and_a_blank_chooses_nothing(self, tmp_path: Path) -> None:
        assert self.settings(tmp_path, TTS_PROVIDER_MODE="modal")["TTS_PROVIDER_MODE"] == "modal"
        assert self.settings(tmp_path, TTS_PROVIDER_MODE=" ")["TTS_PROVIDER_MODE"] == "qwen"

    def test_modal_is_the_emulator_too_in_both_modes(self, tmp_path: Path) -> None:
        for mode in ProviderMode:
            loaded = load_settings(self.settings(tmp_path, TTS_PROVIDER_MODE=mode.value))
            assert loaded.modal_job_submit == f"{ADDRESS.modal_url}/submit"
            assert loaded.modal_job_cancel == f"{ADDRESS.modal_url}/cancel"
            assert loaded.modal_endpoint_voice_design == f"{ADDRESS.modal_url}/design"

    def test_a_modal_that_the_shell_names_is_the_whole_modal(self, tmp_path: Path) -> None:
        """A job of one server must not be asked for, or cancelled, at the other."""
        real = {"MODAL_JOB_SUBMIT": "https://submit.modal.run", "MODAL_JOB_STATUS": "https://status.modal.run"}
        ours = self.settings(tmp_path, **real)
        assert {name: value for name, value in ours.items() if name.startswith("MODAL_")} == real
        assert self.settings(tmp_path, MODAL_JOB_SUBMIT=" ")["MODAL_JOB_SUBMIT"].startswith(ADDRESS.modal_url)

    def test_no_real_account_and_no_real_database_is_touched(self, tmp_path: Path) -> None:
        real = {
            "UTTER_ENV": "production",
            "UTTER_BIND_HOST": "192.0.2.1",
            "DASHSCOPE_API_KEY": "sk-real",
            "DASHSCOPE_BASE_URL": "https://dashscope-intl.aliyuncs.com",
            "DASHSCOPE_REALTIME_URL": "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime",
            "DATABASE_URL": "postgresql://real/utter",
            "DATABASE_LISTEN_URL": "postgresql://real/utter",
            "OBJECTS_URL": "s3://real",
        }
        ours = self.settings(tmp_path, **real)
        assert not {name for name, value in real.items() if ours[name] == value}


class TestGreeting:
    def test_its_lines_can_be_copied(self, tmp_path: Path) -> None:
        text = greeting("http://127.0.0.1:9000", tmp_path / "my data", ProviderMode.QWEN)
        assert "http://127.0.0.1:9000/\n" in text
        assert str(CLONED_VOICE) in text
        assert f"--data-dir '{tmp_path}/my data'" in text

    def test_the_default_folder_needs_no_option(self) -> None:
        assert "--data-dir" not in greeting("http://x", DEFAULT_DATA_DIR.resolve(), ProviderMode.QWEN)

    def test_modal_mode_offers_no_command_that_would_fail(self, tmp_path: Path) -> None:
        text = greeting("http://x", tmp_path, ProviderMode.MODAL)
        assert "http://x/api/generate " in text
        assert "/stream" not in text
        assert str(MODAL_CLONED_VOICE) in text


@pytest.mark.anyio
@pytest.mark.integration
class TestChildren:
    async def test_the_emulator_and_its_worker_end_with_the_body(self, tmp_path: Path) -> None:
        """Also with a key that looks like an option: keys are generated."""
        async with open_emulator(tmp_path, "-key", speed=1.0, first_audio_delay=0.1) as emulator:
            process = psutil.Process(emulator.pid)
            family = [process, *process.children(recursive=True)]
            assert len(family) >= 2
            assert emulator.address.rest_url.startswith("http://127.0.0.1:")
            assert emulator.address.modal_url == f"{emulator.address.rest_url}/modal"
        assert not psutil.wait_procs(family, timeout=5)[1]

    async def test_its_death_is_told_in_words(self, tmp_path: Path) -> None:
        async with open_emulator(tmp_path, "sk-x", speed=1.0, first_audio_delay=0.1) as emulator:
            psutil.Process(emulator.pid).kill()
            with pytest.raises(ChildDied, match=r"ended by itself.*utter dev"), anyio.fail_after(10):
                await emulator.watch()

    async def test_one_that_cannot_start_is_told_in_words(self, tmp_path: Path) -> None:
        (tmp_path / "voices.json").write_text("not ours")
        with pytest.raises(ChildDied, match="did not start"):
            async with open_emulator(tmp_path, "sk-x", speed=1.0, first_audio_delay=0.1):
                pytest.fail("it started")

    async def test_left_over_children_are_ended_and_strangers_are_not(self) -> None:
        # Not anyio's processes: psutil collects the exit status that anyio's own watcher would wait for, for ever.
        with waiting_process() as child, waiting_process() as stranger:
            processes = [psutil.Process(child.pid), psutil.Process(stranger.pid)]
            ours, theirs = (process.create_time() for process in processes)
            left = record(children=[Child(child.pid, ours), Child(stranger.pid, theirs - 1)])
            await end_leftovers(left)
            assert not psutil.wait_procs(processes[:1], timeout=5)[1]
            assert processes[1].is_running()
            await end_leftovers(left)  # they are gone now
            await end_leftovers(None)


@contextmanager
def waiting_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.mark.anyio
class TestTaskGroups:
    async def test_an_only_failure_is_itself(self) -> None:
        async def fails() -> None:
            raise LookupError("one")

        with pytest.raises(LookupError, match="one"):
            async with open_task_group() as tasks:
                tasks.start_soon(fails)
                await anyio.sleep_forever()
        with pytest.raises(LookupError, match="one"), unwrapped():
            async with anyio.create_task_group(), anyio.create_task_group():
                await fails()

    async def test_several_stay_together(self) -> None:
        with pytest.RaisesGroup(LookupError, KeyError), unwrapped():
            raise ExceptionGroup("two", [LookupError(), KeyError()])

    async def test_a_cause_is_kept(self) -> None:
        with pytest.raises(LookupError) as raised, unwrapped():
            error = LookupError()
            error.__cause__ = KeyError("why")
            raise ExceptionGroup("one", [error])
        assert isinstance(raised.value.__cause__, KeyError)

"""`utter serve --workers`: several processes on one port, their deaths, their replacement and their end."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.stack import Stack
from bench.texts import english
from tests.acceptance.client import Client, Heard, until
from tests.support.cli import command
from tests.support.served import ENDS_SECONDS, Served, environment, serving

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(180)]

TEXT = english(300)
"""Some 20 s of speech: 2.5 s at the emulator's pace here."""


@pytest.fixture
def served(stack: Stack, tmp_path: Path) -> Iterator[Served]:
    """Two workers."""
    with serving(stack, tmp_path, "--workers", 2) as running:
        yield running


def test_all_workers_serve_and_name_themselves(served: Served) -> None:
    began = {line["worker"]: line["pid"] for line in served.until_logged("server.listening", 2)}
    assert sorted(began) == [1, 2]
    assert len({*began.values(), served.process.pid}) == 3
    with ThreadPoolExecutor(20) as pool, served.client() as client:
        for heard in pool.map(lambda _: client.stream("All at once."), range(20)):
            assert client.ended(heard.task_id)["status"] == "completed"
    answered = [line["worker"] for line in served.lines("http.request")]
    assert set(answered) == {1, 2}


def test_what_they_count_is_one_answer_and_outlives_them(stack: Stack, tmp_path: Path) -> None:
    with serving(stack, tmp_path, "--workers", 2, UTTER_METRICS_BIND="127.0.0.1:0") as served:
        (listening,) = served.until_logged("metrics.listening", 1)
        with ThreadPoolExecutor(12) as pool, served.client() as client:
            for heard in pool.map(lambda _: client.stream("All at once."), range(12)):
                client.ended(heard.task_id)
        assert len({line["worker"] for line in served.lines("persist.completed")}) == 2
        assert completed_at(listening["url"]) == 12
        for worker in served.workers().values():
            worker.kill()
        served.until_logged("worker.died", 2)
        assert completed_at(listening["url"]) == 12


def completed_at(url: str) -> float:
    """Streams that completed, as Prometheus is told."""
    families = text_string_to_metric_families(httpx.get(url, trust_env=False).raise_for_status().text)
    wanted = {"provider": "qwen", "flow": "generate_stream", "ending": "completed"}
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "utter_generations_total" and sample.labels == wanted
    )


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(served: Served) -> None:
    before = served.workers()
    with ThreadPoolExecutor(8) as pool, served.client() as client:
        streams = [pool.submit(outcome, client, TEXT) for _ in range(8)]
        victim = until(lambda: busy_worker(served, 8))
        before[victim].kill()
        results = [stream.result() for stream in streams]
        theirs = {line["generation_id"]: line["worker"] for line in served.lines() if "generation_id" in line}
        for generation_id, heard in results:
            assert theirs[generation_id] == victim or heard is not None, "the other one's stream was cut"
        assert any(heard is not None for _, heard in results)
        served.until_logged("server.listening", 3)
        (died,) = served.lines("worker.died")
        assert (died["worker"], died["status"]) == (victim, -signal.SIGKILL)
        after = served.workers()
        assert after[victim].pid != before[victim].pid
        assert after[3 - victim].pid == before[3 - victim].pid
        assert client.stream("And speak again.").audio


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_finish_and_refuses_new_work(
    stack: Stack, served: Served, number: signal.Signals
) -> None:
    members = served.family()
    with ThreadPoolExecutor(6) as pool, served.client() as client, served.client() as other:
        streams = [pool.submit(client.stream, TEXT) for _ in range(6)]
        until(lambda: busy_worker(served, 6))
        assert other.http.get("/api/health").status_code == 200  # its connection is open before the drain begins
        served.signal(number)
        served.until_logged("server.draining", 2)
        refused = other.http.post("/api/generate/stream", json=other.body("Too late."))
        heard = [stream.result() for stream in streams]
    assert refused.status_code == 503
    assert all(it.audio for it in heard)
    served.ends()
    assert served.lines("server.drained")
    assert not served.lines("worker.died")
    assert not psutil.wait_procs(members, timeout=ENDS_SECONDS)[1]
    assert "Traceback" not in served.log.read_text()
    with closing(Client(stack)) as client:
        for it in heard:
            assert client.ended(it.task_id)["result"]["audio_bytes"] == len(it.audio)


def test_a_second_signal_ends_it_at_once(served: Served) -> None:
    members = served.family()
    with ThreadPoolExecutor(4) as pool, served.client() as client:
        streams = [pool.submit(outcome, client, english(1500)) for _ in range(4)]
        until(lambda: busy_worker(served, 4))
        served.signal(signal.SIGTERM)
        served.until_logged("server.draining", 2)
        served.signal(signal.SIGTERM)
        served.ends()
        assert {heard for _, heard in (stream.result() for stream in streams)} == {None}
    assert served.lines("server.drain_incomplete")
    assert not psutil.wait_procs(members, timeout=ENDS_SECONDS)[1]


def test_a_restart_is_noticed_by_nobody(served: Served) -> None:
    before = {worker.pid for worker in served.workers().values()}
    with caring_clients(served) as clients:
        served.until_logged("http.request", 4)
        served.signal(signal.SIGHUP)
        served.until_logged("workers.replaced")
        served.until_logged("http.request", len(served.lines("http.request")) + 4)
    done = [client.result() for client in clients]
    assert all(count > 0 for count in done), done
    after = {worker.pid for worker in served.workers().values()}
    assert len(after) == 2
    assert not after & before
    assert not [pid for pid in before if psutil.pid_exists(pid)]
    assert not served.lines("worker.died")
    assert not served.lines("worker.killed")
    assert {line["status"] for line in served.lines("http.request")} == {200}
    assert "Traceback" not in served.log.read_text()
    served.signal(signal.SIGTERM)
    served.ends()


def test_no_process_is_left_when_the_parent_is_killed(served: Served) -> None:
    workers = list(served.workers().values())
    with ThreadPoolExecutor(4) as pool, served.client() as client:
        streams = [pool.submit(client.stream, TEXT) for _ in range(4)]
        until(lambda: busy_worker(served, 4))
        served.process.kill()
        served.process.wait()
        assert all(stream.result().audio for stream in streams)
    assert not psutil.wait_procs(workers, timeout=ENDS_SECONDS)[1]
    assert len(served.lines("worker.parent_gone")) == 2


class TestFirstStart:
    """What keeps a worker from starting is said once."""

    def test_settings_that_cannot_be_used(self, stack: Stack, tmp_path: Path) -> None:
        settings = environment(stack, tmp_path, QWEN_MAX_TEXT_CHARS="9999", UTTER_WORKERS="3")
        said = self.refused(settings)
        assert said.count("QWEN_MAX_TEXT_CHARS") == 1

    def test_too_many_workers(self, stack: Stack, tmp_path: Path) -> None:
        said = self.refused(environment(stack, tmp_path), "--workers", 1000)
        assert "UTTER_WORKERS" in said
        assert "from 1 to 64" in said

    def test_a_database_that_is_not_there(self, stack: Stack, tmp_path: Path) -> None:
        settings = environment(stack, tmp_path, DATABASE_URL="postgresql://utter:hunter2@127.0.0.1:1/utter")
        said = self.refused(settings, "--workers", 3)
        assert said.count("Check DATABASE_URL") == 1
        assert "hunter2" not in said

    def test_a_port_in_use(self, stack: Stack, tmp_path: Path) -> None:
        port = stack.base_url.rpartition(":")[2]
        said = self.refused(environment(stack, tmp_path, UTTER_BIND_PORT=port), "--workers", 3)
        assert said.count(f"port {port}: another program uses it") == 1

    def refused(self, settings: dict[str, str], *arguments: object) -> str:
        ran = subprocess.run(
            command("serve", *arguments),
            env=settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDS_SECONDS,
        )
        assert ran.returncode == 1, ran
        assert "Traceback" not in ran.stderr
        return " ".join(ran.stderr.split())


def outcome(client: Client, text: str) -> tuple[str, Heard | None]:
    """A stream's generation, and what was heard if it came to its end."""
    with client.streaming(text) as response:
        response.raise_for_status()
        generation_id, task_id = (response.headers[f"X-Utter-{name}-Id"] for name in ("Generation", "Task"))
        try:
            audio = b"".join(response.iter_raw())
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return generation_id, None
    return generation_id, Heard(audio, generation_id, task_id)


def busy_worker(served: Served, streams: int) -> int | None:
    """The number of a worker that speaks, once so many streams have begun."""
    began = {line["generation_id"]: line["worker"] for line in served.lines("provider.first_audio.completed")}
    return next(iter(began.values())) if len(began) >= streams else None


@contextmanager
def caring_clients(served: Served) -> Iterator[list[Future[int]]]:
    """People who listen and order without a pause, each on a connection that is kept as long as the server lets it;
    a future raises what went wrong, or says how often everything went well."""
    over = threading.Event()

    def again_and_again(once: Callable[[Client], None]) -> int:
        count = 0
        with served.client() as client:
            while not over.is_set():
                once(client)
                count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(again_and_again, once) for once in (listen, listen, listen, order)]
        try:
            yield clients
        finally:
            over.set()


def listen(client: Client) -> None:
    heard = client.stream(TEXT)
    assert client.ended(heard.task_id)["result"]["audio_bytes"] == len(heard.audio)


def order(client: Client) -> None:
    """A v1 task; its user may have one at a time."""
    answer = client.http.post("/api/generate", json=client.body(TEXT))
    answer.raise_for_status()
    assert client.ended(answer.json()["task_id"])["status"] == "completed"

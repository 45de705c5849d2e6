"""The `utter` command for people: `token`, `say` and `voices` against a running demo."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from bench.stack import Stack
from bench.texts import english
from tests.acceptance.client import Client, seconds_by_ffmpeg
from tests.support.cli import ENDS_SECONDS, command, refusal, utter

integration = pytest.mark.integration


class TestToken:
    @integration
    def test_the_last_line_is_the_bare_token_of_the_demo_user(self, stack: Stack) -> None:
        result = utter("token", "--data-dir", stack.data_dir)
        assert result.exit_code == 0, result.stderr
        assert user_of(stack, result.stdout.splitlines()[-1]) == stack.demo_user

    @integration
    def test_another_user_is_made_when_missing(self, stack: Stack) -> None:
        user = str(uuid4())
        for _ in range(2):
            result = utter("token", "--user", user, "--data-dir", stack.data_dir)
            assert result.exit_code == 0, result.stderr
            assert user_of(stack, result.stdout.splitlines()[-1]) == user

    @integration
    def test_what_is_no_user_id_is_refused(self, stack: Stack) -> None:
        assert "must be a UUID" in refusal(utter("token", "--user", "ada", "--data-dir", stack.data_dir))

    def test_without_a_running_demo_it_explains(self, tmp_path: Path) -> None:
        said = refusal(utter("token", "--data-dir", tmp_path))
        assert f"No `utter dev` runs in {tmp_path}" in said
        assert "Start it first" in said

    @integration
    def test_a_demo_that_was_killed_does_not_count_as_running(self, stack: Stack, tmp_path: Path) -> None:
        record = (stack.data_dir / "running.json").read_text()
        (tmp_path / "running.json").write_text(record.replace(f'"pid":{stack.pid}', f'"pid":{os.getpid()}'))
        assert "No `utter dev` runs" in refusal(utter("token", "--data-dir", tmp_path))


class TestSay:
    @integration
    def test_a_file_is_written(self, stack: Stack, tmp_path: Path) -> None:
        out = tmp_path / "morning.mp3"
        result = utter("say", "Good morning.", "-o", out, "--data-dir", stack.data_dir)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == ""
        assert "speaking" in result.stderr
        assert seconds_by_ffmpeg(out.read_bytes()) > 0.5

    @integration
    def test_a_dash_goes_to_the_pipe_and_nothing_else_does(self, stack: Stack) -> None:
        ran = subprocess.run(
            command("say", "Good morning.", "--voice", "Evening reader", "--data-dir", stack.data_dir),
            capture_output=True,
            check=True,
            timeout=ENDS_SECONDS,
        )
        newest = newest_generation(stack)
        assert len(ran.stdout) == newest["duration_bytes"]
        assert newest["voice_name"] == "Evening reader"

    @integration
    def test_a_reader_that_leaves_ends_it_quietly(self, stack: Stack) -> None:
        with subprocess.Popen(
            command("say", english(600), "--data-dir", stack.data_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1000)
            process.stdout.close()
            said = process.stderr.read().decode()
            assert process.wait(ENDS_SECONDS) == 1
        assert "Traceback" not in said
        assert "Exception" not in said

    @integration
    def test_a_terminal_is_refused_before_anything_is_spoken(self, stack: Stack) -> None:
        sessions = len(stack.sessions())
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb"), os.fdopen(follower, "wb") as terminal:
            ran = subprocess.run(
                command("say", "Good morning.", "--data-dir", stack.data_dir),
                stdout=terminal,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=ENDS_SECONDS,
            )
        assert ran.returncode == 1
        assert "would print an MP3 to your terminal" in ran.stderr
        assert len(stack.sessions()) == sessions

    @integration
    def test_a_folder_that_is_not_there_is_refused_before_anything_is_spoken(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        sessions = len(stack.sessions())
        out = tmp_path / "nowhere" / "morning.mp3"
        assert "Nothing can be written" in refusal(utter("say", "Hi.", "-o", out, "--data-dir", stack.data_dir))
        assert len(stack.sessions()) == sessions

    @integration
    def test_an_unknown_voice_is_answered_with_the_known_ones(self, stack: Stack, tmp_path: Path) -> None:
        said = refusal(
            utter("say", "Hi.", "--voice", "Nobody", "-o", tmp_path / "hi.mp3", "--data-dir", stack.data_dir)
        )
        assert "no voice called 'Nobody'" in said
        assert "Evening reader" in said
        assert "Fireside narrator" in said

    @integration
    def test_what_the_gateway_refuses_is_said_in_its_words(self, stack: Stack, tmp_path: Path) -> None:
        out = tmp_path / "silence.mp3"
        said = refusal(utter("say", "...", "-o", out, "--data-dir", stack.data_dir))
        assert "at least one letter or digit" in said
        assert "400" in said
        assert not out.exists()

    @integration
    def test_speech_that_breaks_off_is_said_to_be_incomplete(self, stack: Stack, tmp_path: Path) -> None:
        with closing(Client(stack)) as client:
            client.order_faults("cut")
            arguments = ["--voice", client.voice["id"], "-o", tmp_path / "half.mp3", "--data-dir", stack.data_dir]
            result = utter("say", english(300), *arguments)
            client.clear_faults()
        assert result.exit_code == 1
        assert "incomplete" in result.stderr
        assert "Traceback" not in result.stderr

    @integration
    def test_a_token_that_is_not_accepted_is_said_to_be(self, stack: Stack, tmp_path: Path) -> None:
        target = ["--base-url", stack.base_url, "--token", "not.a.token", "-o", tmp_path / "hi.mp3"]
        assert "sign in again" in refusal(utter("say", "Hi.", *target))

    @pytest.mark.parametrize(
        ("address", "said"),
        [("http://127.0.0.1:1", "Nothing answers at"), ("127.0.0.1:8080", "cannot be reached")],
    )
    def test_a_server_that_is_not_there(self, tmp_path: Path, address: str, said: str) -> None:
        told = refusal(utter("say", "Hi.", "--base-url", address, "--token", "x", "-o", tmp_path / "hi.mp3"))
        assert said in told
        assert "--base-url" in told

    def test_an_answer_that_is_not_the_gateways(self, tmp_path: Path) -> None:
        with proxy_error() as address:
            target = ["--base-url", address, "--token", "x", "-o", tmp_path / "hi.mp3"]
            assert "Bad Gateway (502)" in refusal(utter("say", "Hi.", *target))

    def test_without_a_running_demo_it_explains(self, tmp_path: Path) -> None:
        said = refusal(utter("say", "Hi.", "-o", tmp_path / "hi.mp3", "--data-dir", tmp_path))
        assert "--base-url and --token" in said


class TestVoices:
    @integration
    def test_every_voice_has_a_line_with_its_whole_id(self, stack: Stack) -> None:
        result = utter("voices", "--data-dir", stack.data_dir)
        assert result.exit_code == 0, result.stderr
        for voice in stack.voices():
            row = next(line for line in result.stdout.splitlines() if voice["id"] in line)
            assert row.split()[1:3] == [voice["source"], "qwen"]
            assert row.endswith(voice["name"])

    @integration
    def test_a_search_narrows_it(self, stack: Stack) -> None:
        result = utter("voices", "--search", "fireside", "--data-dir", stack.data_dir)
        assert "designed" in result.stdout
        assert "uploaded" not in result.stdout


def user_of(stack: Stack, token: str) -> object:
    """Whom the gateway takes the token for."""
    answer = httpx.get(f"{stack.base_url}/api/me", headers={"Authorization": f"Bearer {token}"})
    return answer.json()["user"]["id"]


def newest_generation(stack: Stack) -> dict[str, object]:
    """The last generation of the demo user, with the length of its audio."""
    with closing(Client(stack)) as client:
        newest: dict[str, object] = client.http.get("/api/generations", params={"per_page": 1}).json()["generations"][0]
        audio = client.http.get(f"/api/generations/{newest['id']}/stream").content
    return {**newest, "duration_bytes": len(audio)}


@contextmanager
def proxy_error() -> Iterator[str]:
    """A server that answers like a proxy without a gateway behind it; gives its address."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(502)
            self.end_headers()
            self.wfile.write(b"<html>Bad Gateway</html>")

        def log_message(self, *_args: object) -> None:
            """Nothing: the test's output is not a log."""

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()

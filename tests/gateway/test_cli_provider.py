"""`utter voices provider` and `utter voices quota`, as processes, on an emulated account."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.stack import Stack
from tests.support.cli import ENDS_SECONDS, STAGING, Ran, command, plain, refusal, utter, utter_alone
from tests.support.emulator import API_KEY, VC_MODEL, VD_MODEL, Emulator, start_emulator

pytestmark = pytest.mark.integration


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Emulator]:
    """An account of this test's own."""
    with start_emulator(tmp_path / "emulator") as running:
        yield running


def environment(account: Emulator, **changes: str) -> dict[str, str]:
    return {**STAGING, "DASHSCOPE_API_KEY": API_KEY, "DASHSCOPE_BASE_URL": account.rest_url, **changes}


def operate(account: Emulator, *arguments: object, **changes: str) -> Ran:
    ran = utter_alone("voices", *arguments, environment=environment(account, **changes))
    for secret in (API_KEY, "hunter2", STAGING["SUPABASE_JWT_SECRET"]):
        assert secret not in ran.stdout + ran.stderr
    return ran


def in_json(ran: Ran) -> Any:
    assert ran.exit_code == 0, ran
    return json.loads(ran.stdout)


@pytest.mark.parametrize("words", ["provider", "provider list", "provider query", "provider delete", "quota"])
def test_help_shows_how(words: str) -> None:
    ran = utter("voices", *words.split(), "--help")
    assert ran.exit_code == 0
    if words != "provider":
        assert plain(ran.stdout).partition(" Options ")[0].count(f"utter voices {words}") >= 2


def test_the_account_s_voices_are_listed(account: Emulator) -> None:
    assert in_json(operate(account, "provider", "list", "--json")) == []
    cloned, designed = account.clone("ada"), account.design("bob")
    everything = in_json(operate(account, "provider", "list", "--json"))
    assert {(row["voice"], row["kind"], row["target_model"]) for row in everything} == {
        (cloned, "vc", VC_MODEL),
        (designed, "vd", VD_MODEL),
    }
    assert set(everything[0]) == {"voice", "kind", "target_model", "created", "language"}
    ran = operate(account, "provider", "list", "--kind", "vd")
    assert [line.split()[:3] for line in ran.stdout.splitlines()] == [[designed, "vd", VD_MODEL]]
    assert "1 voices" in ran.stderr


def test_more_than_a_page_is_listed_and_counted(account: Emulator) -> None:
    made = {account.design(f"voice{number}") for number in range(103)}
    assert {row["voice"] for row in in_json(operate(account, "provider", "list", "--json"))} == made
    assert in_json(operate(account, "quota", "--json")) == {"used": 103, "of": 1000, "cloned": 0, "designed": 103}


def test_the_quota_in_words(account: Emulator) -> None:
    account.clone("ada")
    assert operate(account, "quota").stdout == "1 of 1000 voices used: 1 cloned, 0 designed.\n"


@pytest.mark.parametrize("kind", ["vc", "vd"])
def test_one_voice_is_found_and_deleted(account: Emulator, kind: str) -> None:
    make = account.clone if kind == "vc" else account.design
    voice, other = make("ada"), make("bob")
    assert in_json(operate(account, "provider", "query", voice, "--json"))["voice"] == voice
    assert operate(account, "provider", "query", voice).stdout.split()[:2] == [voice, kind]
    assert in_json(operate(account, "provider", "delete", voice, "--yes", "--json")) == {
        "voice": voice,
        "deleted": True,
    }
    assert [row["voice"] for row in in_json(operate(account, "provider", "list", "--json"))] == [other]
    for words in (["query", voice], ["delete", voice, "--yes"]):
        assert "has no voice" in refusal(operate(account, "provider", *words))


def test_nothing_is_deleted_without_a_yes(account: Emulator) -> None:
    voice = account.design("ada")
    for answer in ("", "n\n", "perhaps\n"):
        done = delete_and_answer(account, voice, answer)
        assert (done.returncode, done.stdout) == (1, "")
        assert voice in done.stderr
        assert "Nothing was deleted" in done.stderr
    assert len(in_json(operate(account, "provider", "list", "--json"))) == 1
    done = delete_and_answer(account, voice, "y\n")
    assert (done.returncode, done.stdout) == (0, f"Deleted {voice}.\n")
    assert in_json(operate(account, "provider", "list", "--json")) == []


def delete_and_answer(account: Emulator, voice: str, answer: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("voices", "provider", "delete", voice),
        env={**os.environ, **environment(account)},
        input=answer,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_SECONDS,
    )


def test_a_kind_that_nothing_tells(account: Emulator) -> None:
    assert "Give --kind" in refusal(operate(account, "provider", "query", "narrator"))
    assert "no kind of voice" in refusal(operate(account, "provider", "list", "--kind", "tts"))


def test_a_wrong_key_is_told_with_both_reasons(account: Emulator) -> None:
    said = refusal(operate(account, "quota", DASHSCOPE_API_KEY="sk-wrong-key-of-nobody"))
    assert "the other region" in said
    assert "sk-wrong" not in said


def test_a_provider_that_is_away() -> None:
    away = {**STAGING, "DASHSCOPE_BASE_URL": "http://127.0.0.1:1"}
    assert "No connection" in refusal(utter_alone("voices", "provider", "list", environment=away))


def test_no_key_and_settings_that_cannot_be_used(tmp_path: Path) -> None:
    keyless = {**STAGING, "DASHSCOPE_API_KEY": "", "TTS_PROVIDER_MODE": "modal"}
    assert "DASHSCOPE_API_KEY is not set" in refusal(utter_alone("voices", "quota", environment=keyless))
    unusable = {**STAGING, "UTTER_SIGNING_SECRET": ""}
    assert "UTTER_SIGNING_SECRET is not set" in refusal(utter_alone("voices", "quota", environment=unusable))
    nowhere = utter_alone("voices", "quota", "--data-dir", tmp_path, environment={})
    assert "No `utter dev` runs" in refusal(nowhere)


def test_the_account_of_a_running_demo(stack: Stack) -> None:
    found = in_json(utter_alone("voices", "quota", "--json", "--data-dir", stack.data_dir, environment={}))
    assert found["used"] >= 2

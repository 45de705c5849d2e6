"""How the emulator portions text, names voices and keeps its account, without a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bench.emulator.account import MAX_VOICES, Account, StoredVoice, VoiceQuotaExceeded
from bench.emulator.durable import StateUnreadable
from bench.emulator.segments import MAX_SEGMENT_CHARS, MIN_START_CHARS, complete_sentences, segments
from bench.emulator.studio import delivery_of
from bench.emulator.voices import ESPEAK_VOICES, espeak_voice, timbre_of
from protocol.events import SessionSettings
from protocol.languages import LANGUAGE_CODES

TEXTS = st.text(alphabet=st.sampled_from("ab .!?。！\n”é日本,"), max_size=600)


@given(TEXTS)
def test_segments_joined_are_the_text(text: str) -> None:
    portions = segments(text)
    assert "".join(portions) == text
    assert all(0 < len(portion) <= MAX_SEGMENT_CHARS for portion in portions)


@given(TEXTS)
def test_only_complete_sentences_are_taken_early(text: str) -> None:
    ready = complete_sentences(text)
    assert ready == 0 or MIN_START_CHARS <= ready <= len(text)
    assert complete_sentences(text[:ready]) == ready


@pytest.mark.parametrize(
    ("text", "portions"),
    [
        ("It costs 3.14 euros. Really?", ["It costs 3.14 euros. ", "Really?"]),
        ("今天天气。“好的。”走吧", ["今天天气。", "“好的。”", "走吧"]),
        ("", []),
    ],
)
def test_sentences_end_where_readers_pause(text: str, portions: list[str]) -> None:
    assert segments(text) == portions


def test_every_spoken_language_has_an_espeak_voice() -> None:
    assert set(ESPEAK_VOICES) == set(LANGUAGE_CODES.values())
    assert espeak_voice(timbre_of("v"), "tlh").startswith("en-us+")


def test_voice_ids_are_spread_over_timbres() -> None:
    assert timbre_of("one") == timbre_of("one")
    assert len({timbre_of(f"voice-{number}") for number in range(200)}) > 190


def test_a_session_update_changes_only_what_it_names() -> None:
    delivery = delivery_of(SessionSettings(voice="v", speech_rate=1.5))
    assert (delivery.voice, delivery.speech_rate, delivery.pitch_rate) == ("v", 1.5, 1.0)


def a_voice(number: int) -> StoredVoice:
    stamp = "2026-01-01 00:00:00"
    return StoredVoice(
        voice=f"v{number}", kind="vc", target_model="m", language="en", gmt_create=stamp, gmt_modified=stamp
    )


def test_changes_made_at_the_same_time_are_all_on_the_disk(tmp_path: Path) -> None:
    async def charge() -> None:
        account = Account(tmp_path)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(account.charge, 7)

    trio.run(charge)
    assert Account(tmp_path).bill.characters == 140


def test_the_voice_quota_is_the_vendors(tmp_path: Path) -> None:
    async def fill() -> None:
        account = Account(tmp_path)
        async with trio.open_nursery() as nursery:
            for number in range(MAX_VOICES):
                nursery.start_soon(account.add, a_voice(number), "name")
        with pytest.raises(VoiceQuotaExceeded):
            await account.add(a_voice(MAX_VOICES), "name")
        assert account.bill.clones == MAX_VOICES
        assert await account.remove("v7")
        assert not await account.remove("v7")
        await account.add(a_voice(MAX_VOICES), "name")

    trio.run(fill)
    assert len(Account(tmp_path).voices("vc")) == MAX_VOICES


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "voices.json").write_text("[{}]")
    with pytest.raises(StateUnreadable, match=r"voices\.json"):
        Account(tmp_path)

"""Signed permissions: what they open, and everything they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.signing import InvalidToken, Signer

SECRET = "s" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def refuses(signer: Signer, subject: str, token: str) -> bool:
    try:
        signer.verify("object", subject, token)
    except InvalidToken:
        return True
    return False


def test_a_token_opens_what_it_was_made_for_until_it_expires() -> None:
    clock = Clock()
    signer = Signer(SECRET, clock=clock)
    token = signer.sign("object", "uid/a.mp3", 60)
    clock.now += 59
    signer.verify("object", "uid/a.mp3", token)
    clock.now += 1
    with pytest.raises(InvalidToken):
        signer.verify("object", "uid/a.mp3", token)


def test_it_opens_nothing_else() -> None:
    signer = Signer(SECRET)
    token = signer.sign("object", "uid/a.mp3", 60)
    for purpose in ("stream", "upload"):
        with pytest.raises(InvalidToken):
            signer.verify(purpose, "uid/a.mp3", token)
    assert refuses(signer, "uid/b.mp3", token)
    assert refuses(Signer("t" * 32), "uid/a.mp3", token)


def test_the_end_cannot_be_put_off() -> None:
    clock = Clock()
    signer = Signer(SECRET, clock=clock)
    expires, _, signature = signer.sign("object", "a", 60).partition(".")
    assert refuses(signer, "a", f"{int(expires, 16) + 3600:x}.{signature}")


@pytest.mark.parametrize("token", ["", ".", "x", "1.x", "é.é", "1" * 17 + "." + "A" * 43, "-1." + "A" * 43])
def test_garbage_is_refused(token: str) -> None:
    assert refuses(Signer(SECRET), "a", token)


def test_every_changed_character_is_refused() -> None:
    signer = Signer(SECRET)
    token = signer.sign("object", "a", 60)
    for index in range(len(token)):
        changed = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert refuses(signer, "a", changed), index


@given(st.text(), st.text())
def test_different_subjects_never_share_a_token(one: str, other: str) -> None:
    signer = Signer(SECRET)
    token = signer.sign("object", one, 60)
    assert refuses(signer, other, token) == (one != other)


def test_it_is_safe_and_short_in_a_url() -> None:
    token = Signer(SECRET).sign("stream", "5f0c6a4e-0000-4000-8000-000000000000", 3600)
    assert len(token) < 64
    assert all(character.isalnum() or character in "._-" for character in token)


def test_an_empty_secret_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="secret"):
        Signer("")

"""Texts to speak, of an exact length."""

from __future__ import annotations

_ENGLISH = (
    "The morning train left the station a little before seven, and hardly anybody was awake to see it go. "
    "Mist lay over the river, the bridges came and went, and somewhere behind the hills a bell counted the hours. "
)
_JAPANESE = (
    "朝の列車は七時少し前に駅を出ました。川には霧がかかり、橋が現れては消えていきます。丘の向こうで鐘が時を告げました。"
)


def english(characters: int) -> str:
    """English prose of exactly `characters` code points; it may end inside a word."""
    return _exactly(_ENGLISH, characters)


def japanese(characters: int) -> str:
    """Japanese prose of exactly `characters` code points."""
    return _exactly(_JAPANESE, characters)


def _exactly(text: str, characters: int) -> str:
    return (text * (characters // len(text) + 1))[:characters].strip().ljust(characters, "o")

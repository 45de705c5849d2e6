"""The languages of the product: the list the page shows, those Qwen speaks, their codes, and `Auto`.

`Auto` is the vendor's to resolve in a session (`language_type`), but ours for customization, whose `language` would
otherwise fall back to `zh` (protocol reference 3.2): `detect` looks at the text itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import regex

AUTO: Final = "Auto"

LANGUAGES: Final = (
    AUTO,
    "English",
    "Chinese",
    "Japanese",
    "Korean",
    "French",
    "German",
    "Spanish",
    "Italian",
    "Portuguese",
    "Russian",
    "Arabic",
    "Hindi",
    "Dutch",
    "Turkish",
)
"""What `GET /api/languages` lists, in v1's order (v1 contract 1.1)."""

LANGUAGE_CODES: Final[Mapping[str, str]] = {
    "Chinese": "zh",
    "English": "en",
    "German": "de",
    "Italian": "it",
    "Portuguese": "pt",
    "Spanish": "es",
    "Japanese": "ja",
    "Korean": "ko",
    "French": "fr",
    "Russian": "ru",
}
"""The ten languages Qwen speaks, and their codes in customization (protocol reference 1.3 and 3.1)."""

SPOKEN_LANGUAGES: Final = tuple(name for name in LANGUAGES if name == AUTO or name in LANGUAGE_CODES)
"""Those of the list that Qwen speaks, `Auto` among them, in the list's order."""

_BY_FOLDED_NAME: Final = {name.casefold(): name for name in SPOKEN_LANGUAGES}


def canonical(language: str) -> str | None:
    """The spoken language called `language`, whatever its case and surrounding blanks; None for any other."""
    return _BY_FOLDED_NAME.get(language.strip().casefold())


def is_spoken(language: str) -> bool:
    """Qwen speaks it, or it is `Auto`."""
    return canonical(language) is not None


def session_language(language: str) -> str:
    """The `language_type` of a session: a full English name or `Auto`. Raises ValueError for what Qwen cannot speak."""
    name = canonical(language)
    if name is None:
        raise ValueError(f"Qwen does not speak {language!r}")
    return name


def customization_language(language: str, text: str) -> str:
    """The `language` code of a clone or a design; `Auto` is decided by `text`, the transcript or preview.

    Raises ValueError for what Qwen cannot speak.
    """
    name = session_language(language)
    return detect(text) if name == AUTO else LANGUAGE_CODES[name]


def detect(text: str) -> str:
    """The code of the language `text` is most likely written in, one of `LANGUAGE_CODES`; `en` when nothing tells.

    By script first, then by the commonest words and the letters of the six languages in Latin script. Its limits: a
    Japanese text without a single kana is taken for Chinese, any Cyrillic text for Russian, a Latin text without
    common words or telling letters for English; languages Qwen does not speak come out as the nearest of the ten. A
    mixed text is the language of its larger part, with two Latin letters counted like one CJK character.
    """
    counts = {code: len(pattern.findall(text)) for code, pattern in _SCRIPTS.items()}
    cjk = counts["zh"] + counts["ja"] + counts["ko"]
    if 2 * cjk >= counts["latin"] + counts["ru"] and cjk:
        return _cjk(counts)
    if counts["ru"] > counts["latin"]:
        return "ru"
    return _latin(text)


# One kana in ten CJK characters already makes a text Japanese: Chinese has none, formal Japanese still has particles.
_KANA_SHARE: Final = 0.1

_SCRIPTS: Final = {
    "zh": regex.compile(r"\p{Han}"),
    "ja": regex.compile(r"[\p{Hiragana}\p{Katakana}]"),
    "ko": regex.compile(r"\p{Hangul}"),
    "ru": regex.compile(r"\p{Cyrillic}"),
    "latin": regex.compile(r"\p{Latin}"),
}


def _cjk(counts: Mapping[str, int]) -> str:
    if counts["ko"] >= counts["zh"] + counts["ja"]:
        return "ko"
    return "ja" if counts["ja"] >= _KANA_SHARE * (counts["zh"] + counts["ja"]) else "zh"


# Function words: the commonest of each language, most of them in no other's list; where one is shared, the others
# of its list decide.
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the and of to is that it for was with you this have are not be at from they we what there my your i "
        "would hello good morning how on as but by an or if so all when can will do has",
        "de": "der die das und ist nicht ich sie ein eine zu den mit es auf für von im dem auch wir sich hat wie war "
        "aber oder wenn noch nach guten tag hallo wird sind dass bei einen einer er",
        "fr": "le la les et est des une un que pas pour dans je vous il elle ce qui sur avec nous au du ne se plus "
        "mais bonjour cette son sont tout ont être très où aux",
        "es": "el la los las y es que de en un una por con no para se del al lo como más pero su hola está muy yo "
        "usted todo esta este hay son porque buenos días cuando",
        "it": "il la che di e è un una non per sono con mi si lo del della gli le da ma come ho questo ciao anche più "
        "nel alla dei molto perché buongiorno delle ci ha quando",
        "pt": "o a os as e é que de um uma não para com em do da por se mais como mas eu você está muito olá isso "
        "foi ao no na são tem dos das bom dia quando",
    }.items()
}

# Letters that one of the six uses and the others hardly do; ñ and ã settle what the shared words leave open.
_LETTERS: Final[Mapping[str, str]] = {
    "de": "äöüß",
    "fr": "çœêîëïùâ",
    "es": "ñ¿¡",
    "it": "ìò",
    "pt": "ãõç",
}

_LETTER_WEIGHT: Final = 2
"""Words one telling letter counts for."""

_WORD: Final = regex.compile(r"\p{Latin}+")


def _latin(text: str) -> str:
    lowered = text.lower()
    words = _WORD.findall(lowered)
    scores = {
        code: sum(word in common for word in words)
        + _LETTER_WEIGHT * sum(lowered.count(letter) for letter in _LETTERS.get(code, ""))
        for code, common in _WORDS.items()
    }
    # max keeps the first of equals, and English stands first: the answer when nothing tells.
    return max(scores, key=scores.__getitem__)

"""The list, the codes, and what `Auto` makes of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.languages import (
    LANGUAGE_CODES,
    LANGUAGES,
    SPOKEN_LANGUAGES,
    canonical,
    customization_language,
    detect,
    is_spoken,
    session_language,
)


def test_the_list_is_v1s() -> None:
    assert ", ".join(LANGUAGES) == (
        "Auto, English, Chinese, Japanese, Korean, French, German, Spanish, Italian, Portuguese, Russian, "
        "Arabic, Hindi, Dutch, Turkish"
    )


def test_qwen_speaks_ten_of_them_and_auto() -> None:
    assert LANGUAGES[:11] == SPOKEN_LANGUAGES
    assert set(LANGUAGE_CODES) == set(SPOKEN_LANGUAGES) - {"Auto"}
    assert sorted(LANGUAGE_CODES.values()) == ["de", "en", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh"]


@pytest.mark.parametrize("language", ["Arabic", "Hindi", "Dutch", "Turkish", "Klingon", "", "en"])
def test_what_qwen_does_not_speak(language: str) -> None:
    assert not is_spoken(language)
    assert canonical(language) is None
    with pytest.raises(ValueError, match="does not speak"):
        session_language(language)
    with pytest.raises(ValueError, match="does not speak"):
        customization_language(language, "Hello.")


@pytest.mark.parametrize("language", ["german", "GERMAN", " German "])
def test_case_and_blanks_do_not_matter(language: str) -> None:
    assert session_language(language) == "German"
    assert customization_language(language, "Hello.") == "de"


def test_auto_is_the_vendors_in_a_session_and_ours_in_customization() -> None:
    assert session_language("auto") == "Auto"
    assert customization_language("Auto", "Guten Tag, wie geht es dir?") == "de"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The quick brown fox jumps over the lazy dog."),
        ("en", "Hello, this is my voice. I would like to hear it again."),
        ("zh", "今天天气很好，我们去公园散步吧。"),
        ("zh", "歡迎使用語音合成服務。"),
        ("zh", "我在用 Python 写程序。"),
        ("ja", "今日はとても良い天気ですね。"),
        ("ja", "東京都庁前駅で待ち合わせ"),
        ("ja", "カラオケ"),
        ("ko", "오늘 날씨가 참 좋네요."),
        ("ko", "韓國語 문장에는 한자도 있습니다."),
        ("ru", "Сегодня очень хорошая погода."),
        ("ru", "Я работаю в компании Google."),
        ("fr", "Bonjour, je suis très heureux de vous rencontrer."),
        ("fr", "Le chat est sur la table et il dort."),
        ("de", "Der schnelle braune Fuchs springt über den faulen Hund."),
        ("de", "Guten Morgen, ich habe das nicht gewusst."),
        ("es", "Hola, ¿cómo estás? El niño está muy contento."),
        ("es", "Los libros están en la mesa de la cocina."),
        ("it", "Buongiorno, questo è il mio libro e non lo vendo."),
        ("it", "Il gatto dorme sul tavolo della cucina."),
        ("pt", "Olá, você está bem? Isso não é muito difícil."),
        ("pt", "As crianças estão brincando no jardim com os pais."),
    ],
)
def test_a_sentence_tells_its_language(code: str, text: str) -> None:
    assert detect(text) == code


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("zh", "OK了"),  # one CJK character counts like two Latin letters, and wins against them
        ("en", "The 字"),
        ("ru", "Привет, hello, 世界."),  # all other letters together outnumber the CJK characters
        ("ko", "韓國語 한국어"),  # as many Hangul as Han
        ("ja", "東京駅前午後三時半に"),  # one kana in ten
        ("zh", "東京都庁前午後三時半に"),  # one in eleven
        ("de", "An Herrn Müller"),  # a telling letter outweighs one common word of another language
        ("en", "The Köln cathedral is old."),  # but not two
    ],
)
def test_a_close_call(code: str, text: str) -> None:
    assert detect(text) == code


@pytest.mark.parametrize("text", ["", "   ", "12345", "!?", "😀", "xyzzy", "मौसम अच्छा है"])
def test_a_text_that_tells_nothing_is_english(text: str) -> None:
    assert detect(text) == "en"


@given(st.text())
def test_every_text_has_one_of_the_ten(text: str) -> None:
    assert detect(text) in LANGUAGE_CODES.values()

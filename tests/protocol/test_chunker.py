"""The chunker's laws (Hypothesis), its bounds, and a table of what a reader of each language expects."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import chunker
from protocol.chunker import (
    FIRST_PIECE_CHARS,
    MAX_CLUSTER_CHARS,
    MAX_PIECE_CHARS,
    MIN_PIECE_CHARS,
    Chunker,
    ChunkerLimits,
    Strength,
    boundaries,
    split,
)
from protocol.errors import LocalProtocolError

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
FLAGS = "🇩🇪🇫🇷🇯🇵"
JAMO = "\u1112\u1161\u11ab"
CONJUNCT = "क्षि"
ZALGO = "Z" + "\u0351\u0336\u0489" * 9

TOKENS = st.sampled_from(
    [
        *(
            FAMILY,
            FLAGS,
            FLAGS[0],
            JAMO,
            CONJUNCT,
            ZALGO,
            "👍🏽",
            "‼️",
            "e\u0301",
            "\u200d",
            "\u0301",
            "\r\n",
            "\r",
            "\n",
        ),
        *".,;:!?…—'\"“”„»«’()¿¡ \t\N{NO-BREAK SPACE}",
        *"。！？；，、」』（؟،؛۔।॥．",
        *(
            "Dr",
            "z. B.",
            "3.14",
            "12.",
            "U.S.",
            "Hello",
            "wörd",
            "你好",
            "ありがとう",
            "안녕",
            "привет",
            "مرحبا",
            "नमस्ते",
        ),
    ]
)
TEXT = st.one_of(
    st.lists(TOKENS, max_size=80).map("".join),
    st.text(max_size=200),
    st.text(st.characters(categories=["Cs", "Mn", "Zs", "Po"]), max_size=80),
)
LIMITS = st.one_of(
    st.just(ChunkerLimits()),
    st.builds(
        lambda first, extra, minimum, cluster: ChunkerLimits(
            first, min(minimum, first + extra), first + extra, first + extra + cluster
        ),
        st.integers(1, 12),
        st.integers(0, 12),
        st.integers(1, 24),
        st.integers(40, 60),
    ),
)


def cluster_lengths(text: str) -> list[int]:
    return [len(cluster) for cluster in regex.findall(r"\X", text)]


def cut_places(pieces: list[str]) -> set[int]:
    return set(accumulate(map(len, pieces)))


def fed(portions: list[str], limits: ChunkerLimits | None = None) -> list[str]:
    machine = Chunker(limits)
    pieces = [piece for portion in portions for piece in machine.feed(portion)]
    return pieces + machine.flush()


@st.composite
def portions(draw: st.DrawFn) -> list[str]:
    """A text cut anywhere, also inside its clusters, with empty portions in between."""
    text = draw(TEXT)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]


class TestLaws:
    @given(TEXT, LIMITS)
    def test_pieces_joined_are_the_text_and_none_is_empty(self, text: str, limits: ChunkerLimits) -> None:
        pieces = split(text, limits)
        assert "".join(pieces) == text
        assert all(pieces)

    @given(TEXT, LIMITS)
    @example(FLAGS * 200, ChunkerLimits())
    @example(FAMILY * 100, ChunkerLimits())
    @example(JAMO * 200, ChunkerLimits())
    @example("a\r\n" * 200, ChunkerLimits(1, 1, 1))
    def test_no_cut_falls_inside_a_grapheme_cluster(self, text: str, limits: ChunkerLimits) -> None:
        lengths = cluster_lengths(text)
        if max(lengths, default=0) > limits.cluster:
            return  # the one exception, tested in TestBounds
        assert cut_places(split(text, limits)) <= set(accumulate(lengths))

    @given(TEXT, LIMITS)
    def test_a_piece_over_its_limit_is_a_single_cluster(self, text: str, limits: ChunkerLimits) -> None:
        for number, piece in enumerate(split(text, limits)):
            limit = limits.maximum if number else limits.first
            assert len(piece) <= limit or len(cluster_lengths(piece)) == 1
            assert len(piece) <= limits.cluster

    @given(portions(), LIMITS)
    def test_the_portions_it_came_in_do_not_matter(self, parts: list[str], limits: ChunkerLimits) -> None:
        assert fed(parts, limits) == split("".join(parts), limits)

    @given(TEXT, LIMITS)
    @example("a bb. »Da", ChunkerLimits(6, 1, 6))  # at the sixth and seventh code point the » still could close
    # The rest of a cluster that was cut is another: behind nothing, and in the midst of what is handled at a time.
    @example("\u0600" * 2047 + FLAGS * 200, ChunkerLimits())
    @example("字" * FIRST_PIECE_CHARS + "\u0600" * 2047 + FLAGS * 70, ChunkerLimits())
    def test_one_code_point_at_a_time_is_the_same(self, text: str, limits: ChunkerLimits) -> None:
        at_once, one_by_one = Chunker(limits), Chunker(limits)
        assert at_once.feed(text) == [piece for char in text for piece in one_by_one.feed(char)]
        assert at_once.flush() == one_by_one.flush()

    @given(TEXT)
    def test_what_is_given_out_and_what_is_held_back_add_up(self, text: str) -> None:
        machine = Chunker()
        assert sum(map(len, machine.feed(text))) + machine.pending_chars == len(text)


class TestFirstPiece:
    def test_ends_with_the_first_clause(self) -> None:
        text = "Once upon a time, " + "there was a very long sentence without an end " * 10
        assert split(text)[0] == "Once upon a time, "

    def test_is_out_before_the_text_has_ended(self) -> None:
        machine = Chunker()
        assert machine.feed("Once upon a time,") == []
        assert machine.feed(" there") == ["Once upon a time, "]

    def test_without_a_clause_ends_at_a_word(self) -> None:
        assert split("unbroken " * 100)[0] == "unbroken " * (FIRST_PIECE_CHARS // 9)

    def test_without_a_word_end_fills_up_with_clusters(self) -> None:
        assert split("字" * 100)[0] == "字" * FIRST_PIECE_CHARS
        assert split(JAMO * 100)[0] == JAMO * (FIRST_PIECE_CHARS // 3)

    def test_is_out_with_the_second_code_point_behind_it(self) -> None:
        machine = Chunker()
        assert machine.feed("字" * (FIRST_PIECE_CHARS + 1)) == []
        assert machine.feed("字") == ["字" * FIRST_PIECE_CHARS]

    @pytest.mark.parametrize("opening", ["— ", "\n\n", "... ", "«", "¿", "!!! ", "‼️‼️ ", "‼️ ‼️ ", "..\uff9e "])
    def test_has_something_to_say(self, opening: str) -> None:
        assert split(f"{opening}Hello, {'and on ' * 20}")[0] == f"{opening}Hello, "

    def test_may_say_a_single_letter(self) -> None:
        assert split("I, Claudius, am now about to begin this strange history of my life.")[0] == "I, "


class TestLaterPieces:
    def test_end_at_the_first_sentence_that_makes_them_long_enough(self) -> None:
        sentence = "This sentence has forty-one characters. "
        pieces = split("Yes. " + sentence * 12)
        assert pieces == ["Yes. "] + [sentence * 3] * 4
        assert len(sentence * 3) >= MIN_PIECE_CHARS > len(sentence * 2)

    @pytest.mark.parametrize("words", ["No. But, well ", "But, well ", "Well ", ""])
    def test_fall_back_to_a_short_sentence_then_a_clause_then_a_word_then_a_cluster(self, words: str) -> None:
        endless = "x" * 2 * MAX_PIECE_CHARS
        best = regex.match(r"No. |But, |Well |", words)
        assert best is not None
        assert split(f"Yes. {words}{endless}")[1] == (best[0] or "x" * MAX_PIECE_CHARS)

    @pytest.mark.parametrize(("length", "sentences"), [(99, 2), (100, 1)])
    def test_are_long_enough_with_100_code_points(self, length: int, sentences: int) -> None:
        sentence = "O" + "h" * (length - 3) + ". "
        assert split("Yes. " + sentence * 4)[1:] == [sentence * sentences] * (4 // sentences)

    def test_may_fill_their_limit_to_the_last_code_point(self) -> None:
        sentence, last = "Word " * 59 + "end. ", "Word " * 59 + "ended"
        assert len(sentence) == len(last) == MAX_PIECE_CHARS
        assert split(f"Yes. {sentence}{last}") == ["Yes. ", sentence, last]

    def test_do_not_end_with_the_marks_they_begin_with(self) -> None:
        text = "字" * FIRST_PIECE_CHARS + "！！" + "字" * MAX_PIECE_CHARS
        assert split(text)[1] == "！！" + "字" * (MAX_PIECE_CHARS - 2)

    def test_a_text_without_any_boundary_is_cut_at_the_limit(self) -> None:
        assert [len(piece) for piece in split("字" * 700)] == [FIRST_PIECE_CHARS, 300, 300, 40]


# Language, text with | where a sentence ends and / where a clause ends.
BY_LANGUAGE = [
    ("English", "Hello, /world. |Dr. Smith, /of the U.S. Army, /paid 3.14 (e.g., /now)! |\"Why?\" |Go to a.com?q=1."),
    ("English", "It ended at 10:30 a.m. sharp; /see fig. 2. 1,000 came... /and left.” |(Really.) |Then: /go—/now."),
    ("Chinese", "你好，/世界。|他说：/“再见！”|“好。”|圆周率是３．１４，/时间是10：30；/一、/二……/走吧？|"),
    ("English", "Dr. No took approx. 5 hours.. /Well, /I—/and he—/slept."),
    ("Chinese", "你好,/世界.|再见!|好"),
    ("Chinese", "２０２４年，/2月：/比分是3：2。|"),
    ("Japanese", "「おはよう。」|今日は、/『雨』です！？|そう｡|はい、/どうぞ（笑）。|では"),
    ("Korean", "안녕하세요. |오늘은 3.5도, /춥죠? |네!|좋아요… /가자. |네. |Kim"),
    ("French", "Comment ça va ? |Bien ! |« Oui. » |M. Dupont, /Mme. Curie : /voilà."),
    ("German", "Das ist z. B. gut. |Am 3. Oktober sagte er: /„Hallo!“ |Dann ging Prof. Kurz. |„Ja“, /sagte sie."),
    ("Spanish", "¿Qué tal?|¡Bien! |La Sra. Gil dijo: /«Sí.» |Son 3,5 euros; /vale."),
    ("Italian", "Ciao! |Il dott. Rossi, /l'ing. Bianchi e il sig. Verdi... /eccoli."),
    ("Portuguese", "Olá, /mundo! |A Exma. Sra. Silva chegou às 10:30. |Tudo bem?"),
    ("Russian", "Привет, /мир. |Это т. е. ул. Мира, /д. 5. Он сказал: /«Да!» |Что?.. |Слово — /это"),
    ("Arabic", "مرحبا، /كيف حالك؟ |بخير؛ /شكرا. |نعم۔|لا"),
    ("Hindi", "नमस्ते। |डॉ. शर्मा, /आप कैसे हैं? |ठीक॥ |अच्छा"),
    ("Dutch", "Hallo, /wereld. |Dhr. Jansen kocht bijv. 3,5 kilo; /\"mooi!\" |zei hij."),
    ("Turkish", "Merhaba, /dünya. |Prof. Doç. Kaya 5. katta, /vb. şeyler. |Nasılsın?"),
    ("lines", "one\n/two\r\n/three\n\n|four\N{LINE SEPARATOR}/five"),
    ("lines", "— one, /two\n/— three\n/... four\r\n/...five—/six"),
    ("emoji", "Wow‼️ |Great!👍🏽 Yes. |🎉"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "marked"), BY_LANGUAGE)
def test_sentences_and_clauses(language: str, marked: str) -> None:
    text = regex.sub("[|/]", "", marked)
    signs = {Strength.SENTENCE: "|", Strength.CLAUSE: "/"}
    found, last = "", 0
    for boundary in boundaries(text):
        if boundary.strength in signs and boundary.position < len(text):
            found += text[last : boundary.position] + signs[boundary.strength]
            last = boundary.position
    assert found + text[last:] == marked.removesuffix("|")


class TestBounds:
    def test_a_cluster_over_the_piece_limit_stays_whole(self) -> None:
        zalgo = "Z" + "\u0351" * (MAX_CLUSTER_CHARS - 1)
        assert split(f"Hi. {zalgo}, there") == ["Hi. ", zalgo, ", there"]

    def test_a_cluster_over_the_cluster_limit_is_cut(self) -> None:
        pieces = split("Z" + "\u0351" * 3 * 2048)
        assert [len(piece) for piece in pieces] == [2048, 2048, 2048, 1]

    def test_a_cluster_that_reaches_the_cluster_limit_waits_for_nothing(self) -> None:
        zalgo = "Z" + "\u0351" * (MAX_CLUSTER_CHARS - 1)
        machine = Chunker()
        assert machine.feed(zalgo[:-1]) == []
        assert machine.feed(zalgo[-1]) == [zalgo]

    @pytest.mark.parametrize("text", ["a", "Z\u0351", "\u0351", " ", "\n", "🇩", FAMILY, "a, ", "A. ", "!", "\"'"])
    def test_holds_back_no_more_than_a_cluster_and_a_block(self, text: str) -> None:
        machine = Chunker()
        most = 0
        for _ in range(3000 // len(text)):
            machine.feed(text)
            most = max(most, machine.pending_chars)
        assert most <= MAX_PIECE_CHARS + 2 or regex.fullmatch(r"\X", text * 3)
        assert most <= MAX_CLUSTER_CHARS + 1

    @pytest.mark.slow
    @pytest.mark.parametrize("unit", ["a", "\u0351", "🇩", " ", "\n", "a, ", "A. ", "!", "“", '"', "क्", "👨\u200d"])
    @pytest.mark.parametrize("portion", [1, 7, 100_000])
    def test_work_grows_with_the_text_not_with_its_square(
        self, unit: str, portion: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        size = MAX_CLUSTER_CHARS * (2 if portion == 1 else 12)
        once, twice = (scanned_chars(unit, n, portion, monkeypatch) for n in (size, 2 * size))
        assert twice <= 2.3 * once
        assert twice <= 2 * size * (MAX_CLUSTER_CHARS + 8 if portion == 1 else MAX_PIECE_CHARS)

    def test_what_was_searched_is_not_searched_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        size = 10 * MAX_PIECE_CHARS
        assert scanned_chars("word ", size, 1, monkeypatch) <= 20 * size

    def test_200k_characters_in_one_go(self) -> None:
        for text in ("a" * 200_000, "Z" + "\u0351" * 200_000, "🇩" * 200_000):
            assert "".join(split(text)) == text

    def test_contradicting_limits_are_refused(self) -> None:
        for limits in ((0, 1, 1, 1), (5, 1, 4, 9), (1, 5, 4, 9), (1, 1, 4, 3)):
            with pytest.raises(ValueError, match="contradict"):
                ChunkerLimits(*limits)


def scanned_chars(unit: str, size: int, portion: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Code points the patterns ran over for `size` code points of `unit`, fed `portion` at a time."""
    total = 0

    class Counting:
        def __init__(self, pattern: regex.Pattern[str]) -> None:
            self._pattern = pattern

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def run(text: str, start: int = 0, *rest: int) -> Any:
                nonlocal total
                total += len(text) - start
                return getattr(self._pattern, name)(text, start, *rest)

            return run

    text = (unit * size)[:size]
    with monkeypatch.context() as patch:
        for name in ("_CLUSTER", "_BREAK", "_WORD_CHAR"):
            patch.setattr(chunker, name, Counting(getattr(chunker, name)))
        pieces = fed([text[start : start + portion] for start in range(0, size, portion)])
    assert "".join(pieces) == text
    return total


class TestEnds:
    def test_no_text_gives_no_piece(self) -> None:
        assert split("") == []
        assert fed(["", ""]) == []

    def test_a_lone_surrogate_is_only_another_character(self) -> None:
        assert "".join(split("a\ud800b, \udc00")) == "a\ud800b, \udc00"

    def test_after_flush_nothing_may_come(self) -> None:
        machine = Chunker()
        machine.flush()
        with pytest.raises(LocalProtocolError, match="flushed"):
            machine.feed("more")
        with pytest.raises(LocalProtocolError, match="flushed"):
            machine.flush()

"""Cuts text into the pieces that are sent one by one as `input_text_buffer.append`.

What holds for every text, however it arrives:

- The pieces joined are the text, and no piece is empty.
- A cut never falls inside a grapheme cluster (UAX #29, `\\X`), short of one over `MAX_CLUSTER_CHARS`.
- A piece is at most `MAX_PIECE_CHARS` long, the first at most `FIRST_PIECE_CHARS`; only a single cluster that is
  longer than that stands alone as a longer piece.
- Where the cuts fall depends on the text alone, not on the portions it was fed in.

Lengths are in code points: that is what Python and `regex` index by, and the limit they serve, "200-500 characters"
(protocol reference 6), is advice without a stated unit. Where marks end a sentence and where only a clause is
decided in `boundaries`, by the Unicode properties that UAX #29 uses for the purpose plus the exceptions a speaker
would notice (3.14, Dr., z. B., U.S.). A missed boundary costs a worse place to cut, never a character.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import regex

from protocol.errors import LocalProtocolError

FIRST_PIECE_CHARS = 60
"""Code points. About four seconds of English: the vendor can start on it, and it still holds a usual clause."""

MIN_PIECE_CHARS = 100
"""Code points. Sentences shorter than this travel together: the vendor hears a phrase's context, we send less."""

MAX_PIECE_CHARS = 300
"""Code points. Inside the 200-500 that protocol reference 6 advises."""

MAX_CLUSTER_CHARS = 2048
"""Code points of one grapheme cluster before it is cut after all, so that stacked accents without end cannot make us
hold text without end. Above the longest text the product accepts (2000 UTF-16 units), so none of those is ever cut."""

_BLOCK_CHARS = 512
"""Code points handled at a time. `\\X` looks back over a whole run of flags, which in one piece takes the square."""

_LOOKAHEAD_CHARS = 2
"""Code points that must be known behind a cut: the first shows that its cluster is whole, the second whether a » in
front of it opens or closes."""


@dataclass(frozen=True, slots=True)
class ChunkerLimits:
    """The four limits above, in code points. Raises ValueError unless 1 <= first, min <= max <= cluster."""

    first: int = FIRST_PIECE_CHARS
    minimum: int = MIN_PIECE_CHARS
    maximum: int = MAX_PIECE_CHARS
    cluster: int = MAX_CLUSTER_CHARS

    def __post_init__(self) -> None:
        if not (1 <= self.first <= self.maximum and 1 <= self.minimum <= self.maximum <= self.cluster):
            raise ValueError(f"limits contradict each other: {self}")


class Strength(IntEnum):
    """How good a place is for a cut; higher is better."""

    WORD = 1
    CLAUSE = 2
    SENTENCE = 3


@dataclass(frozen=True, slots=True)
class Boundary:
    """A cut before code point `position` would be `strength` good."""

    position: int
    strength: Strength


_CLUSTER = regex.compile(r"\X")
_WORD_CHAR = regex.compile(r"[\p{L}\p{N}]")
_LINE_ENDS = r"\n\v\f\r\x85\u2028\u2029"
_LINE_BREAK = regex.compile(rf"\r\n|[{_LINE_ENDS}]")
_NO_BREAK_SPACES = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{FIGURE SPACE}"

# Sentence_Break=STerm and ATerm (UAX #29, table 4) are the full stops of all scripts, ATerm those that also stand
# in numbers and abbreviations. The clause marks are our choice out of SContinue, without hyphens and en dashes, which
# join more often than they part; an ellipsis trails off and so counts with them.
_CLAUSE_MARKS = ",;:،؛，、；：､﹐﹑﹔﹕—…⋯"
_MARK = rf"\p{{SB=STerm}}\p{{SB=ATerm}}{_CLAUSE_MARKS}"
_CLOSER = r"\p{Pe}\p{Pf}\p{GCB=Extend}"
_EITHER_QUOTE = r"""\p{Pi}"'"""  # “ opens in English and closes in German

# Marks with the closing quotes and brackets behind them, and the white space on both sides (French has it before ! ?).
# A quote that could be either closes if no text follows it at once; so does a French » after a space.
_BREAK = regex.compile(
    rf"""(?= [\s{_MARK}] )
    (?: [^\S{_LINE_ENDS}]*+ (?P<marks> [{_MARK}]
        (?: [{_MARK}{_CLOSER}]
          | [{_EITHER_QUOTE}] (?= [\s{_MARK}{_CLOSER}{_EITHER_QUOTE}] | \Z )
          | [^\S{_LINE_ENDS}] (?= [»›] (?: [\s{_MARK}] | \Z ) )
        )*+ ) )?+
    (?P<space> \s*+ )""",
    regex.VERBOSE,
)
_NOT_A_MARK = regex.compile(rf"[\s{_CLOSER}{_EITHER_QUOTE}]+")
_STERM = regex.compile(r"\p{SB=STerm}")
_ATERM = regex.compile(r"\p{SB=ATerm}")

# Marks that are also spelling (example.com, 10:30, a?b=c): they part only before white space, an opener, or a script
# that is often typed without spaces.
_SPELLING_MARKS = ".,;:!?"
_PARTS_WITHOUT_SPACE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Pi}¿¡]")

# What stands before a full stop that ends no sentence: an initial or dotted letter (U.S., z. B.), an ordinal of one or
# two digits (3. Oktober, 5. kat), or a word of the list. A single letter is a whole sentence only in Chinese, Japanese
# and Korean; words that often end one (English no, Russian им) are not in the list.
_LETTER_OR_ORDINAL = regex.compile(
    r"(?<![\p{L}\p{M}\p{N}])(?:[\p{Lu}\p{Ll}\p{Arabic}\p{Devanagari}]|(?<![:.,])\p{N}{1,2})$"
)
_LAST_WORD = regex.compile(r"(?<![\p{L}\p{M}])[\p{L}\p{M}]+$")
_ABBREVIATIONS_OF = {
    "English": "mr mrs ms dr prof st jr sr vs etc approx dept fig inc ltd co gen gov lt col sgt capt rev",
    "German": "hr fr nr bzw usw ca vgl inkl ggf evtl geb str tel abs bspw sog",
    "French": "mme mlle mgr env chap",
    "Spanish": "sra srta ud uds vd dña pág núm avda",
    "Italian": "dott sig avv ing pag ecc",
    "Portuguese": "exmo exma av",
    "Russian": "ул стр руб тыс млн млрд см др проф гр",
    "Hindi": "डॉ",
    "Dutch": "drs mevr dhr bijv enz blz",
    "Turkish": "doç yrd sn vb örn cad sok mah",
}
_ABBREVIATIONS = frozenset(word for words in _ABBREVIATIONS_OF.values() for word in words.split())
_MAX_ABBREVIATION_CHARS = max(map(len, _ABBREVIATIONS))


def boundaries(text: str, start: int = 0) -> Iterator[Boundary]:
    """The places in `text` where it is good to cut, in order.

    `start` is 0 or an earlier boundary's position: the search goes on from there. A boundary at the very end of
    `text` may move or vanish when more text follows. The others are final: what decides them ends at most
    `_LOOKAHEAD_CHARS` behind them.
    """
    for match in _BREAK.finditer(text, start):
        strengths = (_strength_of_space(match["space"]), _strength_of_marks(text, match))
        found = [strength for strength in strengths if strength is not None]
        if found:
            yield Boundary(match.end(), max(found))


def _strength_of_space(space: str) -> Strength | None:
    lines = len(_LINE_BREAK.findall(space))
    if lines:
        return Strength.SENTENCE if lines > 1 else Strength.CLAUSE
    return Strength.WORD if space.strip(_NO_BREAK_SPACES) else None


def _strength_of_marks(text: str, match: regex.Match[str]) -> Strength | None:
    if match["marks"] is None or _opens_line(text, match.start()):
        return None
    start = match.start("marks")
    marks = _NOT_A_MARK.sub("", match["marks"])
    after = text[match.end() : match.end() + 1]
    if after and not match["space"] and _is_spelling(text[start - 1], marks[-1], after):
        return None
    if marks[-1] in _CLAUSE_MARKS:
        return Strength.CLAUSE
    if _STERM.search(marks):
        return Strength.SENTENCE
    if len(_ATERM.findall(marks)) > 1:
        return Strength.CLAUSE
    return None if after.islower() or _is_abbreviated(text, start) else Strength.SENTENCE


def _opens_line(text: str, start: int) -> bool:
    """Marks that no text stands before end nothing: the dash of a dialogue, the dots of a resumed sentence."""
    return start == 0 or _LINE_BREAK.match(text, start - 1) is not None


def _is_spelling(before: str, mark: str, after: str) -> bool:
    if mark in _SPELLING_MARKS:
        return not _PARTS_WITHOUT_SPACE.match(after)
    return not _STERM.match(mark) and before.isdigit() and after.isdigit()


def _is_abbreviated(text: str, stop: int) -> bool:
    start = max(0, stop - _MAX_ABBREVIATION_CHARS)  # the patterns also look at what stands before it
    if _LETTER_OR_ORDINAL.search(text, start, stop):
        return True
    word = _LAST_WORD.search(text, start, stop)
    return word is not None and word[0].casefold() in _ABBREVIATIONS


class Chunker:
    """Text in as it comes, pieces out as soon as nothing that may follow can change them.

    `feed` any number of times, then `flush` once. Holds at most `limits.cluster` plus a block of text.
    """

    def __init__(self, limits: ChunkerLimits | None = None) -> None:
        self._limits = limits or ChunkerLimits()
        self._pending = ""
        self._ends: list[int] = []  # where the clusters of _pending end, as far as that is certain
        self._searched = 0  # the last boundary of _pending looked at
        self._fallback: dict[Strength, int] = {}  # the last one of each strength
        self._started = False
        self._flushed = False

    @property
    def pending_chars(self) -> int:
        """Code points fed but not yet given out."""
        return len(self._pending)

    def feed(self, text: str) -> list[str]:
        """Take more text; return the pieces that are now certain, often none.

        Raises:
            LocalProtocolError: after `flush`.
        """
        self._require_open()
        pieces: list[str] = []
        for start in range(0, len(text), _BLOCK_CHARS):
            self._pending += text[start : start + _BLOCK_CHARS]
            self._find_clusters(final=False)
            pieces += self._take(final=False)
        return pieces

    def flush(self) -> list[str]:
        """End of the text: return the pieces of what is left.

        Raises:
            LocalProtocolError: on a second call.
        """
        self._require_open()
        self._flushed = True
        self._find_clusters(final=True)
        return list(self._take(final=True))

    def _require_open(self) -> None:
        if self._flushed:
            raise LocalProtocolError("this chunker was flushed: the text has ended")

    def _find_clusters(self, *, final: bool) -> None:
        start = self._ends[-1] if self._ends else 0
        self._ends += [match.end() for match in _CLUSTER.finditer(self._pending, start)]
        if not final and self._ends and self._ends[-1] == len(self._pending):
            self._ends.pop()

    def _take(self, *, final: bool) -> Iterator[str]:
        while self._pending and (cut := self._find_cut(final=final)):
            whole = self._is_cluster_end(cut)
            piece, self._pending = self._pending[:cut], self._pending[cut:]
            self._ends = [end - cut for end in self._ends[bisect_right(self._ends, cut) :]] if whole else []
            if not whole:  # without its beginning, what is left of a cluster divides in another way
                self._find_clusters(final=final)
            self._started, self._searched = True, 0
            self._fallback.clear()
            yield piece

    def _find_cut(self, *, final: bool) -> int:
        """Where the next piece ends, 0 if that needs more text."""
        limit = self._limits.maximum if self._started else self._limits.first
        for boundary in boundaries(self._pending, self._searched):
            movable = boundary.position == len(self._pending) and not final
            if boundary.position > limit or movable:
                break
            self._searched = boundary.position
            if not self._is_usable(boundary.position):
                continue
            if self._is_good(boundary):
                return boundary.position
            self._fallback[boundary.strength] = boundary.position
        if final and len(self._pending) <= limit:
            return len(self._pending)
        if not final and len(self._pending) < limit + _LOOKAHEAD_CHARS:
            return 0
        return self._fallback[max(self._fallback)] if self._fallback else self._cluster_cut(limit)

    def _is_good(self, boundary: Boundary) -> bool:
        """Whether to cut here without looking for better."""
        if self._started:
            return boundary.strength is Strength.SENTENCE and boundary.position >= self._limits.minimum
        return boundary.strength >= Strength.CLAUSE

    def _is_usable(self, position: int) -> bool:
        """A cluster ends here, and the first piece gives the vendor something to say."""
        speaks = self._started or _WORD_CHAR.search(self._pending, 0, position) is not None
        return speaks and self._is_cluster_end(position)

    def _is_cluster_end(self, position: int) -> bool:
        index = bisect_left(self._ends, position)
        return index < len(self._ends) and self._ends[index] == position

    def _cluster_cut(self, limit: int) -> int:
        """The last cluster end within `limit`; where one cluster fills it all, the end of that one (0: unknown)."""
        if fitting := bisect_right(self._ends, limit):
            return self._ends[fitting - 1]
        if self._ends:
            return min(self._ends[0], self._limits.cluster)
        return self._limits.cluster if len(self._pending) >= self._limits.cluster else 0


def split(text: str, limits: ChunkerLimits | None = None) -> list[str]:
    """The pieces of a text that is known as a whole; of "" none."""
    chunker = Chunker(limits)
    return chunker.feed(text) + chunker.flush()

"""Whether a canvas with gaps can still become a sentence: the interface of constraints on partial canvases.

The canvas is a regular language (pieces that are known, gaps that any tokens fill), and it is tried whether that has
a sentence in common with the grammar (arXiv 2508.10111). The method as published takes gaps of any length; on a
canvas of fixed length that accepts what cannot be filled, so exact and at-most gaps are here as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import groupby

from .emptiness import Automaton, State, Words
from .lexicon import Cut, Language, Outcomes

HOLE = -1  # a position that is still open
MORE, TEXT = "more", "text "  # what may be left of a canvas, beside gaps and an end token
MOST = 10_000  # states of canvases that are kept; beyond, all is worked out anew
ENDED = "ended"  # the state behind an end token: whatever follows is cut off


class Gap(Enum):
    """How many tokens a run of holes stands for."""

    EXACT = "exact"  # one each
    AT_MOST = "at most"  # one each, or none
    ANY = "any"  # any number, also none


@dataclass(eq=False)
class Completion:
    """Tests canvases against a language. `pieces` has each token's text, None where a token is not text.

    A token without text (special ones, parts of a character) is nowhere allowed, except an end token, which stands
    where a sentence may end. What is known behind an end token does not count; a hole is one only if no known text
    follows.
    """

    language: Language
    pieces: Sequence[str | None]  # V
    ends: frozenset[int] = frozenset()
    _known: _Canvases = field(init=False)
    _read: dict[Cut, dict[str, Outcomes]] = field(default_factory=dict)  # what each kind of token may do, if anything
    _holes: dict[Cut, Outcomes] = field(default_factory=dict)  # what any token may do

    def __post_init__(self) -> None:
        self._known = _Canvases(self)

    def can_extend(self, canvas: Sequence[int], gap: Gap = Gap.EXACT, *, more: bool = False) -> bool:
        """Whether the holes of a canvas of token ids and HOLEs can be filled so that a sentence comes out.

        With `more`, any text may follow the canvas: then it is enough that it can be filled to begin a sentence.
        """
        if gap is not Gap.ANY and not self.can_extend(canvas, Gap.ANY, more=more):
            return False  # that is found out much faster
        end = next((at for at, token in enumerate(canvas) if token in self.ends), len(canvas))
        runs = list(self._runs(canvas[: end + 1]))
        if any(self.pieces[token] is None for kind, tokens in runs if kind == "text" for token in tokens):
            return False
        if self._known.size > MOST:
            self._known = _Canvases(self)
        return self._known.extends(runs, gap, more and end == len(canvas))

    def allowed(self, canvas: Sequence[int], at: int, gap: Gap = Gap.EXACT, *, more: bool = False) -> list[int]:
        """The tokens with which the hole at a position can be filled, ascending.

        Of tokens that do the same wherever what stands before may lead, one is tried.
        """
        cuts = self._before(canvas[:at], gap)
        read = [self._each(cut) for cut in cuts]
        tried: dict[object, bool] = {}
        found = []
        for token, text in enumerate(self._alike):
            if text is None and token not in self.ends:
                continue
            effect = ENDED if text is None else tuple(outcomes.get(text) for outcomes in read)
            if effect not in tried:
                tried[effect] = self.can_extend([*canvas[:at], token, *canvas[at + 1 :]], gap, more=more)
            if tried[effect]:
                found.append(token)
        return found

    @cached_property
    def _alike(self) -> list[str | None]:
        """What each token is read as [V]; None for end tokens and those without text."""
        return [
            None if piece is None or token in self.ends else self.language.alike(piece)
            for token, piece in enumerate(self.pieces)
        ]

    @cached_property
    def _texts(self) -> list[str]:
        """What the tokens with text are read as, sorted."""
        return sorted({text for text in self._alike if text is not None})

    def _before(self, canvas: Sequence[int], gap: Gap) -> list[Cut]:
        """The cuts that a canvas may lead to; none where it has ended before."""
        layer: set[Cut] = {None}
        for kind, tokens in self._runs(canvas):
            if kind == "end":
                return []
            if kind == "text":
                text = "".join(self.pieces[token] or "" for token in tokens)
                layer = {after for cut in layer for _, after in self.language.read(text, cut)}
            elif gap is Gap.ANY:
                left = [*layer]
                while left:
                    fresh = {after for _, after in self._any(left.pop())} - layer
                    layer |= fresh
                    left += fresh
            else:
                for _ in tokens:
                    after = {after for cut in layer for _, after in self._any(cut)}
                    layer = after | layer if gap is Gap.AT_MOST else after
        return [*layer]

    def _each(self, cut: Cut) -> dict[str, Outcomes]:
        """What each text that a token may be read as may do from a cut."""
        if cut not in self._read:
            self._read[cut] = self.language.read_each(self._texts, cut)
        return self._read[cut]

    def _any(self, cut: Cut) -> Outcomes:
        """What any token with text may do from a cut."""
        if cut not in self._holes:
            self._holes[cut] = frozenset().union(*self._each(cut).values())
        return self._holes[cut]

    def _runs(self, canvas: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """Holes, pieces of text and end tokens, each as long as it goes."""
        kinds = ["hole" if token == HOLE else "end" if token in self.ends else "text" for token in canvas]
        for kind, group in groupby(range(len(canvas)), key=kinds.__getitem__):
            yield kind, [canvas[at] for at in group]


Rest = tuple[str, int]  # what comes first of what is left of a canvas, and the number of what is left behind that


class _Canvases:
    """All canvases that were asked about, as one automaton: its states are (what is left of a canvas, cut).

    What a state can become depends on what is left alone. So it is worked out once for all canvases that end alike,
    as those of one row do, whose holes are filled from the left and whose rest is open.
    """

    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self.automaton = Automaton((0, None))
        self.words = Words(completion.language.grammar, self.automaton)
        self.rests: list[Rest] = [("", 0)]  # number 0: nothing is left
        self.numbers: dict[Rest, int] = {}
        self.known: set[State] = set()  # states whose steps are there

    @property
    def size(self) -> int:
        """States held."""
        return len(self.words.near)

    def extends(self, runs: Sequence[tuple[str, Sequence[int]]], gap: Gap, more: bool) -> bool:
        """Whether these runs of a canvas can become a sentence."""
        rest = self._number(MORE, 0) if more else 0
        for kind, tokens in reversed(runs):
            if kind == "text":
                rest = self._number(TEXT + "".join(self.completion.pieces[token] or "" for token in tokens), rest)
            else:
                for _ in tokens if kind == "hole" and gap is not Gap.ANY else [None]:
                    rest = self._number(gap.value if kind == "hole" else kind, rest)
        left: list[tuple[int, Cut | str]] = [(rest, None)]
        while left:
            state = left.pop()
            if state not in self.known:
                self.known.add(state)
                for ended, after in self._steps(*state):
                    self.automaton.step(state, ended, after)
                    left.append(after)
        return self.words.sentence((rest, None))

    def _number(self, first: str, behind: int) -> int:
        rest = (first, behind)
        if rest not in self.numbers:
            self.numbers[rest] = len(self.rests)
            self.rests.append(rest)
        return self.numbers[rest]

    def _steps(self, rest: int, cut: Cut | str) -> Iterator[tuple[tuple[str, ...], tuple[int, Cut | str]]]:
        """The terminals that end with one step from a state, and the state behind it."""
        first, behind = self.rests[rest]
        if not rest:
            if cut is None or cut == ENDED:
                self.automaton.final.add((rest, cut))
        elif first == "end":  # it stands where the text may end
            if cut is None or cut == ENDED:
                yield (), (behind, ENDED)
        elif isinstance(cut, str):
            if not first.startswith(TEXT):  # no known text follows a hole in which it ended
                yield (), (behind, ENDED)
        elif first.startswith(TEXT):
            for ended, after in self.completion.language.read(first[len(TEXT) :], cut):
                yield ended, (behind, after)
        else:
            many = first in (MORE, Gap.ANY.value)
            for ended, after in self.completion._any(cut):
                yield ended, (rest if many else behind, after)
            if cut is None and self.completion.ends and first != MORE:
                yield (), (behind, ENDED)
            if first != Gap.EXACT.value:
                yield (), (behind, cut)

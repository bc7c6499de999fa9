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

from .emptiness import Automaton, common
from .lexicon import Cut, Language, Outcomes

HOLE = -1  # a position that is still open
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
    _read: dict[Cut, dict[str, Outcomes]] = field(default_factory=dict)  # what each kind of token may do, if anything
    _holes: dict[Cut, Outcomes] = field(default_factory=dict)  # what any token may do

    def can_extend(self, canvas: Sequence[int], gap: Gap = Gap.EXACT, *, more: bool = False) -> bool:
        """Whether the holes of a canvas of token ids and HOLEs can be filled so that a sentence comes out.

        With `more`, any text may follow the canvas: then it is enough that it can be filled to begin a sentence.
        """
        if gap is not Gap.ANY and not self.can_extend(canvas, Gap.ANY, more=more):
            return False  # that is found out much faster
        end = next((at for at, token in enumerate(canvas) if token in self.ends), len(canvas))
        automaton = self._automaton(list(self._runs(canvas[: end + 1])), gap, more and end == len(canvas))
        return automaton is not None and common(self.language.grammar, automaton)

    def allowed(self, canvas: Sequence[int], at: int, gap: Gap = Gap.EXACT, *, more: bool = False) -> list[int]:
        """The tokens with which the hole at a position can be filled, ascending.

        Of tokens that do the same wherever a text may stand, one is tried.
        """
        tried: dict[object, bool] = {}
        found = []
        for token, piece in enumerate(self.pieces):
            if token in self.ends:
                effect: object = ENDED
            elif piece is None:
                continue
            else:
                effect = self._effects[self.language.alike(piece)]
            if effect not in tried:
                tried[effect] = self.can_extend([*canvas[:at], token, *canvas[at + 1 :]], gap, more=more)
            if tried[effect]:
                found.append(token)
        return found

    @cached_property
    def _texts(self) -> list[str]:
        """What the tokens with text are read as, sorted."""
        texts = {piece for token, piece in enumerate(self.pieces) if piece is not None and token not in self.ends}
        return sorted(set(map(self.language.alike, texts)))

    @cached_property
    def _effects(self) -> dict[str, object]:
        """What each text may do from every cut that tokens can lead to."""
        cuts: list[Cut] = [None]
        for cut in cuts:  # which grows
            cuts += {after for _, after in self._any(cut)}.difference(cuts)
        return {text: tuple(self._read[cut].get(text) for cut in cuts) for text in self._texts}

    def _automaton(self, runs: Sequence[tuple[str, Sequence[int]]], gap: Gap, more: bool) -> Automaton | None:
        """States are (place in the canvas, cut); None where a token has no text."""
        automaton = Automaton((0, None))
        layer: set[Cut | str] = {None}  # the cuts that are possible where we stand
        place = 0
        for kind, tokens in [*runs, *([("more", ())] if more else [])]:
            if kind == "hole" and gap is not Gap.ANY:
                for _ in tokens:
                    layer = self._one(automaton, place, layer, gap)
                    place += 1
            elif kind in ("hole", "more"):
                layer = self._many(automaton, place, layer, ending=kind == "hole")
                place += 1
            elif kind == "end":
                layer = self._end(automaton, place, layer)
                place += 1
            else:
                pieces = [self.pieces[token] for token in tokens]
                if None in pieces:
                    return None
                text = "".join(piece or "" for piece in pieces)
                outcomes = {cut: self.language.read(text, cut) for cut in _cuts(layer)}
                layer = self._walk(automaton, place, set(outcomes), outcomes)
                place += 1
            if not layer:
                return None
        automaton.final = {(place, cut) for cut in layer if cut is None or cut == ENDED}
        return automaton

    def _walk(
        self, automaton: Automaton, place: int, layer: set[Cut | str], outcomes: dict[Cut, Outcomes]
    ) -> set[Cut | str]:
        """One place further, by what each cut may become."""
        after: set[Cut | str] = set()
        for cut, results in outcomes.items():
            for ended, reached in results:
                automaton.step((place, cut), ended, (place + 1, reached))
                after.add(reached)
        if ENDED in layer:
            automaton.step((place, ENDED), (), (place + 1, ENDED))
            after.add(ENDED)
        return after

    def _one(self, automaton: Automaton, place: int, layer: set[Cut | str], gap: Gap) -> set[Cut | str]:
        """One hole: any token, an end token among them."""
        after = self._walk(automaton, place, layer, {cut: self._any(cut) for cut in _cuts(layer)})
        if self.ends:
            after |= self._end(automaton, place, layer)
        if gap is Gap.AT_MOST:
            for cut in layer:
                automaton.step((place, cut), (), (place + 1, cut))
                after.add(cut)
        return after

    def _many(self, automaton: Automaton, place: int, layer: set[Cut | str], ending: bool) -> set[Cut | str]:
        """Any number of tokens: all that they lead to, in one place."""
        reached, left = layer.copy(), _cuts(layer)
        while left:
            cut = left.pop()
            for ended, after in self._any(cut):
                automaton.step((place, cut), ended, (place, after))
                if after not in reached:
                    reached.add(after)
                    left.append(after)
        if ending and self.ends and None in reached:
            automaton.step((place, None), (), (place, ENDED))
            reached.add(ENDED)
        for each in reached:
            automaton.step((place, each), (), (place + 1, each))
        return reached

    def _end(self, automaton: Automaton, place: int, layer: set[Cut | str]) -> set[Cut | str]:
        """An end token: it stands where the text may end."""
        for cut in layer & {None, ENDED}:
            automaton.step((place, cut), (), (place + 1, ENDED))
        return {ENDED} if layer & {None, ENDED} else set()

    def _any(self, cut: Cut) -> Outcomes:
        """What any token with text may do from a cut."""
        if cut not in self._holes:
            self._read[cut] = self.language.read_each(self._texts, cut)
            self._holes[cut] = frozenset().union(*self._read[cut].values())
        return self._holes[cut]

    def _runs(self, canvas: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """Holes, pieces of text and end tokens, each as long as it goes."""
        kinds = ["hole" if token == HOLE else "end" if token in self.ends else "text" for token in canvas]
        for kind, group in groupby(range(len(canvas)), key=kinds.__getitem__):
            yield kind, [canvas[at] for at in group]


def _cuts(layer: set[Cut | str]) -> list[Cut]:
    return [cut for cut in layer if not isinstance(cut, str)]

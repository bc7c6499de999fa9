"""How a text is completed in few tokens, found by walking the state of any constraint.

A way is a sequence of tokens that was really walked, and behind which the text is complete: so what is known of it
holds, whatever the constraint. That there is no shorter one is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import State
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 1024  # tokens of a way that are walked at most
TRIED = 16  # tokens at one place, of which a way is begun with the first that may follow
MANY = 100  # tokens may follow within a free text, or more
FEW = 6  # tokens behind each of which a way is looked for, where one is chosen
WIDE = 24  # tokens that are tried at each place where all short ways are
SAME = 3  # places that allow the same tokens, of each length, that are looked at
STEPS = 1500  # places that are looked at for the shortest way
IN_TEXT = (9, 0, 2, 3, 4, 5, 6)  # where kinds of tokens stand within a free text: brackets close nothing, quotes do
CLOSERS = b'}])>"'


class Ways:
    """Ways to an end, over the tokens of one model."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        places = [_preference(tokens.text_of(token)) for token in range(len(tokens))]
        order = sorted(range(len(tokens)), key=lambda token: (places[token], token))
        in_text = sorted(order, key=lambda token: IN_TEXT[places[token][0]])
        self._orders = [np.array(each, np.int64) for each in (order, in_text)]
        self._ranks = [np.argsort(each) for each in self._orders]  # token -> where it stands
        self._closing = frozenset(token for token, place in enumerate(places) if place[0] < 2)

    def find(self, state: State, most: int, hints: Sequence[Sequence[int]] = ()) -> list[int] | None:
        """A way of at most `most` tokens, the first that is found; `hints` are walked first, here and further on."""
        known = state.way()
        if known is not None:
            return list(known) if len(known) <= most else None
        found: list[int] = []
        try:
            while len(found) <= min(most, LONGEST) and not state.complete:
                rest = next((each for each in hints if len(found) + len(each) <= most and state.completes(each)), None)
                if rest is not None:
                    return [*found, *rest]
                step = self._step(state, found)
                if not step:
                    return None
                found += step
            return found if state.complete and len(found) <= most else None
        finally:
            state.rollback(len(found))

    def shortest(self, state: State, most: int = LONGEST) -> list[int] | None:
        """A way that is as short as a wide search finds: the shortest, where few tokens may follow anywhere."""
        best = self._chosen(state, most)
        if best is not None:
            best = self._respelt(state, best)
        layer: list[tuple[State, list[int]]] = [(state.fork(), [])]
        left = STEPS
        for _ in range(most if best is None else len(best)):
            after: list[tuple[State, list[int]]] = []
            seen: dict[bytes, int] = {}
            for at, path in layer:
                if at.complete:
                    return path
                for token in self._first(at.allowed(), WIDE):
                    twin = at.fork()
                    if left and twin.advance(token):
                        left -= 1
                        mark = np.packbits(twin.allowed()).tobytes() + bytes([twin.complete])
                        seen[mark] = seen.get(mark, 0) + 1
                        if seen[mark] <= SAME:
                            after.append((twin, [*path, token]))
            layer = after
        return next((path for at, path in layer if at.complete), best)

    def _chosen(self, state: State, most: int) -> list[int] | None:
        """A way that goes on, at each place with a choice, with what `find` then ends soonest behind."""
        best, at = self.find(state, most), 0
        while best is not None and at < len(best):
            able = self._first(state.allowed(), FEW)
            for token in able if len(able) > 1 else ():
                if state.advance(token):
                    found = self.find(state, len(best) - at - 2)
                    state.rollback(1)
                    if found is not None:
                        best = [*best[:at], token, *found]
            if not state.advance(best[at]):
                break
            at += 1
        state.rollback(at)
        return best

    def rest(self, way: Sequence[int], token: int) -> list[int] | None:
        """What is left of a way behind a token whose text is the beginning of the way's text; None: it is not."""
        text, begun = self.tokens.text_of(token), b""
        for at, each in enumerate(way):
            begun += self.tokens.text_of(each)
            if len(begun) >= len(text):
                torn = [self.tokens.texts.get(bytes([byte])) for byte in begun[len(text) :]]
                whole = bool(text) and begun.startswith(text) and all(torn)
                return [*(same[0] for same in torn if same), *way[at + 1 :]] if whole else None
        return None

    def tail(self, way: Sequence[int]) -> list[int] | None:
        """What is left of a way behind its first byte, such as the mark of a string; None: it is not spelled."""
        first = self.tokens.texts.get(self.tokens.text_of(way[0])[:1]) if way else None
        return None if first is None else self.rest(way, first[0])

    def _step(self, state: State, before: Sequence[int]) -> list[int]:
        """The next tokens of a way, which the state has taken; none where none is found."""
        taken: list[int] = []
        for token in state.forced():
            if not state.advance(token):
                break
            taken.append(token)
        if taken:
            return taken
        allowed = state.allowed()
        able = self._first(allowed, TRIED + len({*before}))
        if np.count_nonzero(allowed) > MANY:
            able.sort(key=lambda token: before[-8:].count(token) // 4)
        else:
            able.sort(key=lambda token: 0 if token in self._closing else before.count(token))
        return next(([token] for token in able[:TRIED] if state.advance(token)), [])

    def _first(self, allowed: NDArray[Any], count: int) -> list[int]:
        """The tokens to try first, of those that are allowed."""
        (able,) = allowed.nonzero()
        kind = int(len(able) > MANY)
        near = self._orders[kind][:512]
        found = near[allowed[near]]
        if len(found) < min(count, len(able)):
            found = able[self._ranks[kind][able].argsort()]
        tokens: list[int] = found[:count].tolist()
        return tokens

    def _respelt(self, state: State, way: list[int]) -> list[int]:
        """The way as the tokenizer would write it, where that is shorter."""
        if not all(map(self.tokens.text_of, way)):
            return way
        spelt = self.tokens.spell(b"".join(map(self.tokens.text_of, way)))
        return spelt if len(spelt) < len(way) and state.completes(spelt) else way


def ways(tokens: Tokens) -> Ways:
    """The ways over these tokens; one object for all that ask."""
    return tokens.memory.once(Ways, lambda: Ways(tokens))


def _preference(text: bytes) -> tuple[int, int]:
    """Where a token stands among those that are tried to end a text: what closes comes first, and most of it."""
    if text and not text.strip(CLOSERS):
        if text[:1] != b'"':
            return (0, -len(text))
        return (1, -len(text) if text.startswith(b'""') else len(text))
    if text in (b":", b",", b'":', b'","', b'",'):
        return (2, len(text))
    if text in (b"0", b"1", b"true", b"null", b"false"):
        return (3, len(text))
    if text.isdigit():
        return (4, len(text))
    return (5 if text.isalnum() and text.isascii() else 6, len(text))

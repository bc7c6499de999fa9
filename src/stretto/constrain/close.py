"""Answers that end, complete, within the tokens that they may take.

A token may follow only if behind it a way to the end is known that fits into what is left. So there always is one:
where it just fits, its tokens alone may follow. What knows the lengths of its ways (automata) is asked for them, and
nothing else is shut out. Elsewhere ways are looked for by walking the state (`ways.py`): behind every token where few
may follow; where many may, as within a string, behind some of those that may end it, and once less than `MARGIN`
tokens are left beside the way, what follows there is plain text, and what the way goes on with. Where no walk
soon gets to an end, a valid text that the constraint knows is the first way, or with a judge all that may be written.
Under a judge a text may get to where no way is known any more: then it goes on to the next one that is found, or fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import InvalidRequest
from .choices import Choices
from .contract import Constraint, State, Work
from .tokens import Tokens
from .ways import LONGEST, Ways, ways

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 64  # tokens behind each of which a way is looked for
MANY = 256  # under a judge, texts that so many tokens may follow stand between values, or shortly before their ends
SPARE = 6  # tokens by which the way behind a token may be longer than behind one that speaks for it
NEAR = 64  # tokens that are walked before a valid text is asked for
LONGER = 16  # tokens by which ways grow from token to token under a judge, whose every step takes long
MARGIN = 48  # tokens by which a way may grow where many tokens may follow, with those that are not looked at
QUOTES = frozenset(b"\"'")
TEXT = 1000  # kinds beyond are of tokens without a mark
SIZES = (1, 2, 4, 8, 16)  # bytes, up to which these are of a kind
MARKS = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


@dataclass(frozen=True, slots=True)
class Close(Constraint):
    """The answer obeys the other constraint, and is complete within a number of tokens."""

    constraint: Constraint
    most: int  # ≥ 1; tokens of an answer, with its end token where it has one

    name: ClassVar[str] = "close"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InvalidRequest(f"an answer of {self.most} tokens is none", hint="one token or more")

    def open(self, tokens: Tokens) -> State:
        return self.open_within(tokens, self.most)

    def open_within(self, tokens: Tokens, room: int) -> State:
        state, most = self.constraint.open(tokens), min(self.most, room) - bool(tokens.ends)
        known = state.least()
        if known is None:
            search = ways(tokens)
            found = search.find(state, min(most, NEAR))
            texts = self._examples(tokens, state) if found is None else []
            if texts and state.work() is not None:  # walks would go astray behind other texts as well
                state = Choices(tuple(texts)).open(tokens)
                known = state.least() or 0
            else:
                spelt = (tokens.spell(text.encode()) for text in texts)
                found = found or min(spelt, key=len, default=None) or search.find(state, most) or search.shortest(state)
                if found is not None and len(found) <= most:
                    return Searching(state, most, Kinds.of(tokens), [found])
                known = LONGEST if found is None else len(found)
        if known > most:
            need = f"{known + bool(tokens.ends)} tokens" if known < LONGEST else f"more than {LONGEST} tokens"
            raise InvalidRequest(
                f"the shortest answer that is found under {self.constraint.name} takes {need}, and there is room for "
                f"{min(self.most, room)}",
                hint=f"max_new_tokens >= {known + bool(tokens.ends)}, and a prompt that leaves so many positions",
            )
        return Counting(state, most)

    def _examples(self, tokens: Tokens, state: State) -> list[str]:
        """The valid texts that are known."""
        return [text for text in self.constraint.examples() if state.completes(tokens.spell(text.encode()))]


class Counting(State):
    """A text whose state knows how long the shortest way is."""

    def __init__(self, inner: State, left: int) -> None:
        self._inner, self._left = inner, left  # text tokens that may still come

    @property
    def complete(self) -> bool:
        return self._inner.complete

    def allowed(self) -> NDArray[Any]:
        fits = self._inner.within(self._left - 1)
        assert fits is not None, "a state that knows its shortest way knows which tokens lead to one"
        return fits

    def advance(self, token: int) -> bool:
        if not self._inner.advance(token):
            return False
        self._left -= 1
        if (self._inner.least() or 0) <= self._left:
            return True
        self.rollback(1)
        return False

    def rollback(self, count: int) -> None:
        self._inner.rollback(count)
        self._left += count

    def fork(self) -> Counting:
        return Counting(self._inner.fork(), self._left)

    def forced(self) -> Sequence[int]:
        return self._inner.forced()[: self._left]

    def least(self) -> int | None:
        return self._inner.least()

    def within(self, most: int) -> NDArray[Any] | None:
        return self._inner.within(min(most, self._left - 1))


class Kinds:
    """Tokens by what they look like: those that look alike mostly do alike within a text of many."""

    def __init__(self, tokens: Tokens) -> None:
        self.ways: Ways = ways(tokens)
        rows, lengths = tokens.grid
        marks = np.isin(rows, np.frombuffer(MARKS, np.uint8)) & (np.arange(rows.shape[1]) < lengths[:, None])
        first = np.where(marks.any(1), rows[np.arange(len(rows)), marks.argmax(1)], 0).astype(np.int64)
        torn = np.array([_torn(tokens.text_of(token)) for token in range(len(tokens))])
        sizes = TEXT + np.searchsorted(SIZES, lengths)
        self.kind = np.where(first > 0, first, np.where(torn, -1, sizes))  # by the first mark, or the length

    @classmethod
    def of(cls, tokens: Tokens) -> Kinds:
        """The kinds of these tokens; one object for all that ask."""
        return tokens.memory.once(Kinds, lambda: Kinds(tokens))

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All tokens, those of a kind together, shorter ones first; and where each kind begins."""
        lengths = self.ways.tokens.grid.lengths
        order = np.lexsort((lengths, self.kind))
        return order, np.flatnonzero(np.diff(self.kind[order], prepend=-2))

    def among(self, allowed: NDArray[Any], loose: bool, between: bool) -> Iterator[tuple[NDArray[np.int64], int, bool]]:
        """The allowed tokens of the kinds to look at, the shortest of each, and whether a mark stands in them.

        Where all is loose these are what may end a text, and between values what may begin one; else also whole
        characters without marks.
        """
        order, starts = self._sorted
        for group in np.split(order, starts[1:]):
            kind = int(self.kind[group[0]])
            asked = kind in QUOTES or (between and 0 < kind < TEXT) or (not loose and kind >= TEXT)
            if asked and len(able := group[allowed[group]]):
                yield able, int(able[0]), kind < TEXT


class Searching(State):
    """A text behind whose every token a way to the end was walked."""

    def __init__(self, inner: State, most: int, kinds: Kinds, found: list[list[int] | None]) -> None:
        self._inner, self._most, self._kinds = inner, most, kinds
        self._ways = found  # behind each token, the first one before all; None: none is known
        self._behind: dict[int, list[int] | None] = {}  # behind tokens that may come next, as far as looked for
        self._mask: NDArray[Any] | None = None

    @property
    def complete(self) -> bool:
        return self._inner.complete

    @property
    def _left(self) -> int:
        """Tokens that may still come."""
        return self._most - len(self._ways) + 1

    def allowed(self) -> NDArray[Any]:
        if self._mask is None:
            able = self._inner.allowed().copy()
            if np.count_nonzero(able) <= FEW:
                able[[token for token in able.nonzero()[0].tolist() if not self._fits(token)]] = False
            else:
                able = self._of_many(able)
            self._mask = able
        return self._mask

    def advance(self, token: int) -> bool:
        found = self._way(token)
        if (found is None and not self.allowed()[token]) or not self._inner.advance(token):
            return False
        if found is None:  # it does not do as those of its kind: the declared name of a key, where others may stand
            found = self._kinds.ways.shortest(self._inner, self._left - 1)
        self._ways.append(found)
        self._moved()
        return True

    def rollback(self, count: int) -> None:
        if count:
            self._inner.rollback(count)
            del self._ways[len(self._ways) - count :]
            self._moved()

    def fork(self) -> Searching:
        return Searching(self._inner.fork(), self._most, self._kinds, self._ways.copy())

    def stuck(self) -> str:
        if self.complete or self.allowed().any():
            return ""
        return self._inner.stuck() or f"no end is found within {self._left} tokens"

    def work(self) -> Work | None:
        return self._inner.work()

    def forced(self) -> Sequence[int]:
        way = self._ways[-1]
        return way if way is not None and len(way) == self._left else self._inner.forced()[: self._left]

    def way(self) -> Sequence[int] | None:
        return self._ways[-1]

    def _moved(self) -> None:
        self._behind, self._mask = {}, None

    def _of_many(self, able: NDArray[Any]) -> NDArray[Any]:
        """The tokens that fit, of many that the other constraint allows: bool [V]."""
        known = self._ways[-1]
        loose = known is not None and len(known) + MARGIN < self._left
        fits = able.copy() if loose else np.zeros(len(able), bool)
        between = self._inner.work() is not None and bool(np.count_nonzero(able) <= MANY)
        for group, shortest, marked in self._kinds.among(able, loose, between):
            found = self._way(shortest)
            near = found is not None and len(found) + MARGIN >= self._left
            fits[group] = found is not None and (
                not near
                or (
                    not marked
                    and len(found) + SPARE < self._left
                    and all(self._inner.completes([each, *found]) for each in spread(group))
                )
            )
            fits[shortest] = found is not None
        fits[(known or [])[:1]] = True
        return fits

    def _fits(self, token: int) -> bool:
        """Whether a way behind a token fits; one that begins the text of the known way goes on with the rest of it."""
        rest = self._kinds.ways.rest(self._ways[-1] or [], token)
        return (rest is not None and len(rest) < self._left) or self._way(token) is not None

    def _way(self, token: int) -> list[int] | None:
        """A way behind a token that fits; None where none is found, or the token may not follow."""
        if token not in self._behind:
            self._behind[token] = self._look(token)
        return self._behind[token]

    def _look(self, token: int) -> list[int] | None:
        way, search = self._ways[-1] or [], self._kinds.ways
        rest = way[1:] if way[:1] == [token] else search.rest(way, token)
        hints = [each for each in (rest, way, search.tail(way)) if each is not None]
        for hint in hints:
            if len(hint) < self._left and self._inner.completes([token, *hint]):
                return [*hint]
        if self._left < 1 or not self._inner.advance(token):
            return None
        most = self._left - 1 if self._inner.work() is None else min(self._left - 1, len(way) + LONGER)
        found = search.find(self._inner, most, hints)
        self._inner.rollback(1)
        return found


def spread(group: NDArray[np.int64]) -> list[int]:
    """A few tokens of a group that speak for the others, the longest among them."""
    found: list[int] = group[-1 :: -(1 + len(group) // 3)].tolist()
    return found


def _torn(text: bytes) -> bool:
    """Whether a token holds a part of a character."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False

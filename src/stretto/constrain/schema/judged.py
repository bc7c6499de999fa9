"""Texts that a mask lets through and a judge has to agree with: JSON under keywords that no mask holds.

A token that closes a value is tried: where the judge then knows that the whole is invalid whatever comes, it may not
follow. So every text that may end is valid, and no valid one is shut out. Where few tokens may follow, it is looked
ahead: none may from which nothing valid can be reached, as far as that is found out (`ahead.py`). Where it is found
out too late, nothing may follow at all, and `stuck` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract import State, Work
from ..guidance import Matching
from ..tokens import Tokens
from .ahead import Ahead
from .judge import Judge
from .reader import Point, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 48  # tokens behind each of which it is looked ahead
WORDS = (b"true", b"false", b"null")
SHOWN = 3  # keywords that a message names


class Ruling(NamedTuple):
    """What texts under one schema are judged by, over the tokens of one model."""

    tokens: Tokens
    judge: Judge
    keywords: Sequence[str]  # that are judged, by their pointers
    ahead: Callable[[], Ahead]


class Marks(NamedTuple):
    """Tokens by the marks that close values in them: bool [V] each."""

    quotes: NDArray[np.bool_]  # "
    ends: NDArray[np.bool_]  # ] or }
    between: NDArray[np.bool_]  # these, or a comma
    whole: NDArray[np.bool_]  # these, two quotes, or true, false or null: alone they may close something


class Judged(State):
    """A text that a matcher reads, and a judge."""

    def __init__(self, inner: Matching, ruling: Ruling, path: list[int], points: list[Point], work: Work) -> None:
        self._inner, self._ruling, self._work = inner, ruling, work
        self._path, self._points = path, points  # the tokens; where each leads, and the start before them
        self._mask: NDArray[np.bool_] | None = None  # at the newest point, once it was asked for

    @property
    def complete(self) -> bool:
        return self._inner.complete and self._ruling.judge.ends_well(self._points[-1])

    def allowed(self) -> NDArray[Any]:
        if self._mask is None:
            mask = self._inner.allowed().copy()
            before = int(np.count_nonzero(mask))
            if self._judge_closing(mask):
                self._look_ahead(mask)
            self._work.shut += before - int(np.count_nonzero(mask))
            mask.flags.writeable = False
            self._mask = mask
        return self._mask

    def advance(self, token: int) -> bool:
        if not (token < len(self._ruling.tokens) and self.allowed()[token]):
            return False
        self._path.append(token)
        self._points.append(read(self._points[-1], self._ruling.tokens.text_of(token)))
        self._mask = None
        return self._inner.advance(token)

    def rollback(self, count: int) -> None:
        if count:
            self._inner.rollback(count)
            del self._path[-count:], self._points[-count:]
            self._mask = None

    def fork(self) -> Judged:
        twin = Judged(self._inner.fork(), self._ruling, [*self._path], [*self._points], self._work)
        twin._mask = self._mask
        return twin

    def forced(self) -> Sequence[int]:
        return self._inner.forced()

    def completes(self, way: Sequence[int]) -> bool:
        """What the whole is judged as says what all that closes on the way is: only keys that come twice say more."""
        if not self._inner.completes(way):
            return False
        point = self._points[-1]
        for token in way:
            point = read(point, self._ruling.tokens.text_of(token))
        return not point.twice and self._ruling.judge.ends_well(point)

    def stuck(self) -> str:
        if self.complete or self.allowed().any():
            return ""
        shown = ", ".join(self._ruling.keywords[:SHOWN]) + ", …" * (len(self._ruling.keywords) > SHOWN)
        return f"schema: whatever follows at {self._points[-1].pointer} breaks {shown}"

    def work(self) -> Work:
        return self._work

    def _judge_closing(self, mask: NDArray[np.bool_]) -> bool:
        """Shut out the tokens behind which the whole is invalid; whether it hangs on what is open."""
        point = self._points[-1]
        known = self._ruling.judge.verdict(point)
        trying = _repeating(self._ruling.tokens, point)
        if known.verdict is False:
            mask[:] = False
        elif known.verdict is None:
            trying = trying | _closing(self._ruling.tokens, point, known.depth)
        tried = (mask & trying).nonzero()[0].tolist()
        for token in tried:
            mask[token] = self._passes(point, token)
        self._work.asked += 1 + len(tried)
        return known.hangs

    def _passes(self, point: Point, token: int) -> bool:
        after = read(point, self._ruling.tokens.text_of(token))
        if after.twice:
            return False  # which of the two values counts would be known at the end alone
        return after.closings == point.closings or self._ruling.judge.verdict(after).verdict is not False

    def _look_ahead(self, mask: NDArray[np.bool_]) -> None:
        """Shut out the tokens behind which nothing valid can be reached; where all spell the same, none does."""
        able = mask.nonzero()[0].tolist() if 1 < np.count_nonzero(mask) <= FEW else []
        must = len(self._inner.must()) if able else 0
        pieces = [(token, text) for token in able if len(text := self._ruling.tokens.text_of(token)) > must]
        if pieces:
            self._work.asked += len(pieces)
            begun = b"".join(map(self._ruling.tokens.text_of, self._path))
            found = self._ruling.ahead().lead_on(begun, [text for _, text in pieces])
            mask[[token for (token, _), leads_on in zip(pieces, found, strict=True) if not leads_on]] = False


def _closing(tokens: Tokens, point: Point, depth: int) -> NDArray[np.bool_]:
    """Tokens that may close something on which the whole hangs; it hangs on nothing deeper than `depth`."""
    marks = _marks(tokens)
    if point.begun is None:
        return marks.whole
    if depth < point.depth + (not (point.in_text and point.in_key)):
        return marks.ends
    if point.in_text:
        return marks.quotes
    return np.ones(len(tokens), bool) if point.begun[:1].isalpha() else marks.between


def _repeating(tokens: Tokens, point: Point) -> NDArray[np.bool_]:
    """Tokens by which a key may come twice."""
    keys = point.inner.closed if point.in_key and point.inner is not None else ()
    if keys and point.begun is None:
        return _marks(tokens).whole
    begun = point.begun[1:] if point.begun else b""
    near = b"\\" in begun or any(key.encode("utf-8", "surrogatepass").startswith(begun) for key in keys)
    return _marks(tokens).quotes if keys and near else np.zeros(len(tokens), bool)


def _marks(tokens: Tokens) -> Marks:
    return tokens.memory.once(Marks, lambda: _marked(tokens))


def _marked(tokens: Tokens) -> Marks:
    texts = [tokens.text_of(token) for token in range(len(tokens))]
    has = {mark: np.array([mark in text for text in texts], bool) for mark in (b'"', b"]", b"}", b",", *WORDS)}
    ends = has[b"]"] | has[b"}"]
    pairs = np.array([text.count(b'"') > 1 for text in texts], bool)
    whole = np.logical_or.reduce([ends, has[b","], pairs, *(has[word] for word in WORDS)])
    return Marks(has[b'"'], ends, ends | has[b","], whole)

"""Fillings of holes that are tried one by one: an accepted token has a completion that was really read (LAVE).

Published as lookahead-then-verify (code github.com/zhangyitonggg/CD4dLLM; its arXiv id is unconfirmed).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from .completion import HOLE
from .matcher import Matcher

Choices = Sequence[tuple[int, float]]  # tokens of one hole with their log-probabilities, likeliest first


def best_fillings(holes: Sequence[Choices], count: int) -> Iterator[tuple[int, ...]]:
    """The likeliest fillings by the sum of their log-probabilities, best first; one token for each hole."""
    if not all(holes):
        return
    first = (0,) * len(holes)
    heap = [(-sum(each[0][1] for each in holes), first)]
    seen = {first}
    while heap and count:
        score, ranks = heapq.heappop(heap)
        yield tuple(each[rank][0] for each, rank in zip(holes, ranks, strict=True))
        count -= 1
        for at, each in enumerate(holes):
            rank = ranks[at] + 1
            after = (*ranks[:at], rank, *ranks[at + 1 :])
            if rank < len(each) and after not in seen:
                seen.add(after)
                heapq.heappush(heap, (score + each[rank - 1][1] - each[rank][1], after))


def survivor(
    matcher: Matcher, pieces: Sequence[str | None], canvas: Sequence[int], fillings: Iterable[Sequence[int]]
) -> list[int] | None:
    """The first filling of a canvas, of token ids and HOLEs, that begins a sentence after what was read; else None.

    The matcher is as it was afterwards. Where a filling fails, those that begin alike are not read again.
    """
    length = len(matcher)
    failed: set[tuple[int, ...]] = set()
    for filling in fillings:
        left = iter(filling)
        whole = tuple(next(left) if token == HOLE else token for token in canvas)
        if any(whole[: len(each)] == each for each in failed):
            continue
        for at, token in enumerate(whole):
            piece = pieces[token]
            if piece is None or not matcher.push(piece):
                failed.add(whole[: at + 1])
                break
        else:
            matcher.rollback(length)
            return list(whole)
        matcher.rollback(length)
    return None

"""Slow references: each steer for one node, in plain Python over lists, straight from its definition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from stretto.steer.path import Scope

Row = list[float]
NONE = -math.inf


def softmax(row: Row) -> Row:
    top = max(row)
    weights = [math.exp(value - top) for value in row]
    return [weight / sum(weights) for weight in weights]


def by_likelihood(row: Row) -> list[int]:
    return sorted(range(len(row)), key=lambda token: (-row[token], token))


def only(row: Row, kept: set[int]) -> Row:
    """The row without what is not kept; its best token where that leaves nothing."""
    kept = {token for token in kept if row[token] > NONE} or {by_likelihood(row)[0]}
    return [value if token in kept else NONE for token, value in enumerate(row)]


def shortest(order: Sequence[int], p: Row, mass: float) -> set[int]:
    kept: set[int] = set()
    total = 0.0
    for token in order:
        if total >= mass:
            break
        kept.add(token)
        total += p[token]
    return kept


def top_k(row: Row, k: int) -> Row:
    return only(row, set(by_likelihood(row)[:k]))


def top_p(row: Row, p: float) -> Row:
    return only(row, shortest(by_likelihood(row), softmax(row), p))


def min_p(row: Row, share: float) -> Row:
    p = softmax(row)
    return only(row, {token for token, value in enumerate(p) if value >= share * max(p)})


def entropy(p: Row) -> float:
    return -sum(value * math.log(value) for value in p if value > 0)


def typical(row: Row, tau: float) -> Row:
    p = softmax(row)
    surprise = {token: -math.log(p[token]) for token in by_likelihood(row) if p[token] > 0}
    order = sorted(surprise, key=lambda token: abs(surprise[token] - entropy(p)))
    return only(row, shortest(order, p, tau))


def epsilon(row: Row, floor: float) -> Row:
    p = softmax(row)
    return only(row, {token for token, value in enumerate(p) if value >= floor})


def eta(row: Row, floor: float) -> Row:
    return epsilon(row, min(floor, math.sqrt(floor) * math.exp(-entropy(softmax(row)))))


def in_scope(prompt: Sequence[int], output: Sequence[int], scope: Scope, last: int = 0) -> list[int]:
    tokens = [*prompt, *output] if scope is Scope.PATH else list(output)
    return tokens[-last:] if last else tokens


def repetition(row: Row, tokens: Sequence[int], penalty: float, exempt: frozenset[int] = frozenset()) -> Row:
    row = row.copy()
    for token in set(tokens) - exempt:
        row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    return row


def frequency(row: Row, output: Sequence[int], per_use: float, once: float) -> Row:
    counts = Counter(output)
    return [value - per_use * counts[token] - once * (token in counts) for token, value in enumerate(row)]


def completing(tokens: Sequence[int], size: int) -> set[int]:
    """The tokens that would complete a run of `size` that `tokens` already hold."""
    tokens = tuple(tokens)
    runs = {tokens[start : start + size] for start in range(len(tokens) - size + 1)}
    end = tokens[len(tokens) - size + 1 :]
    return {run[-1] for run in runs if run[:-1] == end} if len(end) == size - 1 else set()

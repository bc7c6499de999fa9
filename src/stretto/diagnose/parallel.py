"""What writing several words at once can reach at best on ParallelBench's tasks (arXiv 2510.04767).

Each right answer to a question is taken to be equally likely, and a word to be a token. Where there is one right
answer, nothing is lost by writing all of it at once; elsewhere it is as much as the words depend on each other, in
whichever way a model was trained. `joint` says how that is worked out; two tasks have closed forms, below.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..gym.parallel import KINDS, LENGTH, require_length, write
from .joint import Joint, accuracy, bound, greedy, in_turn, uniform

ENTRY = Entry(
    name="parallelbench",
    family="diagnostics",
    source="arXiv 2510.04767; code github.com/furiosa-ai/ParallelBench",
    parts="",
    guarantee=Guarantee.NONE,
    number=24,
    summary="how right an answer can be of which several words are written at once, and how far from the truth it is",
    command="stretto diagnose --parallel WORDS",
)

ANY_ORDER = "any-order"  # beside the benchmark's kinds: all orders of a list are right, the given one too


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question allows."""

    kind: str
    positions: int  # words of an answer
    answers: int  # right ones
    correlation: float  # nats: the least divergence of an answer written at once
    greedy: bool  # whether the likeliest words, written at once, are a right answer
    accuracy: dict[int, float]  # by steps, from left to right: how likely words drawn at once are a right answer


def joint_of(kind: str, length: int = LENGTH, seed: int = 0) -> Joint:
    """The right answers to one question of a kind of `gym.parallel`, or `any-order`, each equally likely.

    Lists are of `length` words, 3 … 8. All questions of a kind give the same figures. Not so sudokus, of which two in a
    thousand have two solutions, nor `greedy` where several words are the likeliest: the first of the alphabet is taken.
    """
    if kind == ANY_ORDER:
        require_length(length)
        return uniform(itertools.permutations(range(length)))
    asked = write(kind, random.Random(seed), length)
    return uniform([word for part in answer for word in part.split()] for answer in asked.answers)


def limits(kind: str, length: int = LENGTH, seed: int = 0) -> Limits:
    """The figures of one question, in 1, 2, 4 … steps and in one for each word."""
    joint = joint_of(kind, length, seed)
    positions = joint.positions
    steps = [2**power for power in range(positions.bit_length()) if 2**power < positions]
    drawn = {each: accuracy(joint, in_turn(positions, each)) for each in (*steps, positions)}
    at_once = in_turn(positions, 1)
    return Limits(kind, positions, len(joint.answers), bound(joint, at_once), greedy(joint, at_once), drawn)


def all_limits(length: int = LENGTH) -> list[Limits]:
    """Those of one question of every kind, and of `any-order`."""
    return [limits(kind, length) for kind in (*KINDS, ANY_ORDER)]


# -- in closed form: `sizes` are the positions filled in each step, n in all --------------------------------


def shuffle_accuracy(sizes: Sequence[int]) -> float:
    """Any order of n different tokens is right, the given one too: `any-order`, drawn from the true conditionals.

    Π r! / ((r − m)! r^m), r being left and m filled; all at once n! / n^n. In whichever order positions are filled.
    """
    _check(sizes)
    left = itertools.accumulate([sum(sizes), *(-size for size in sizes)])
    return math.prod(math.perm(r, m) / float(r) ** m for r, m in zip(left, sizes, strict=False))


def shuffle_correlation(positions: int) -> float:
    """Its total correlation in nats: n ln n − ln n!."""
    _check([positions])
    return positions * math.log(positions) - math.lgamma(positions + 1)


def replace_random_accuracy(sizes: Sequence[int]) -> float:
    """Exactly one of n tokens shall be replaced by a given one, whichever: `replace-random`, drawn likewise.

    All at once (1 − 1/n)^(n − 1). In steps the change must come in one of them: where r are left, none changes in a
    step of m with probability (1 − 1/r)^m, exactly one with m/r (1 − 1/r)^(m − 1); after that all is settled.
    """
    _check(sizes)
    found, untouched, left = 0.0, 1.0, sum(sizes)
    for size in sizes:
        found += untouched * size / left * (1 - 1 / left) ** (size - 1)
        untouched *= (1 - 1 / left) ** size
        left -= size
    return found


def replace_random_correlation(positions: int) -> float:
    """Its total correlation in nats: (n − 1) ln(n / (n − 1)), which tends to 1."""
    _check([positions])
    return (positions - 1) * math.log(positions / (positions - 1)) if positions > 1 else 0.0


def _check(sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 1:
        raise InvalidRequest(f"steps of {list(sizes)} positions", hint="each step fills 1 or more")

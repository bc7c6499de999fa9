"""ParallelBench's closed forms, against sums over all answers and against the engine on the exact joint."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from diffuse.canvases import answer
from stretto import noise
from stretto.diagnose.bits import bits_of
from stretto.diagnose.joint import Groups, Joint, accuracy, bound, greedy, in_turn, likelihoods, orders
from stretto.diagnose.parallel import (
    ANY_ORDER,
    all_limits,
    joint_of,
    limits,
    replace_random_accuracy,
    replace_random_correlation,
    shuffle_accuracy,
    shuffle_correlation,
)
from stretto.errors import InvalidRequest, UnknownName
from stretto.generation import Generation
from stretto.gym.parallel import KINDS, PAIRS, squares
from stretto.models.table import ExactJoint

SEED = 5
ONE_ANSWER = ("copy", "reverse", "sort", "insert-index", "remove-index", "replace-index", "sudoku")
AT_ONCE = "low-confidence(1)"
Row = tuple[int, ...]


# -- closed forms against sums over all answers ---------------------------------------------------------


def test_figures_of_the_paper() -> None:
    assert shuffle_accuracy([5]) == pytest.approx(0.0384)
    assert shuffle_accuracy([4]) == 0.09375 and shuffle_accuracy([2, 2]) == 0.375 and shuffle_accuracy([1] * 4) == 1
    assert replace_random_accuracy([5]) == pytest.approx(0.4096)
    assert replace_random_accuracy([10]) == pytest.approx(0.387, abs=5e-4)
    for size in (3, 6):
        assert shuffle_accuracy([size]) == pytest.approx(math.factorial(size) / size**size)
        assert replace_random_accuracy([size]) == pytest.approx((1 - 1 / size) ** (size - 1))
        assert replace_random_accuracy([1] * size) == pytest.approx(1)
    assert replace_random_correlation(1) == shuffle_correlation(1) == 0
    assert replace_random_correlation(10**6) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_closed_forms_are_sums_over_all_answers(size: int) -> None:
    """For any sizes of steps, and whichever positions a step fills."""
    shuffled, replaced = joint_of(ANY_ORDER, size), joint_of("replace-random", size)
    for sizes in ([size], [1] * size, [size - 1, 1], [1, size - 1], [2, size - 2]):
        for groups in itertools.islice(orders(sizes), 0, None, 7):
            assert accuracy(shuffled, groups) == pytest.approx(shuffle_accuracy(sizes))
            assert bound(shuffled, groups) == pytest.approx(-math.log(shuffle_accuracy(sizes)), abs=1e-12)
            assert accuracy(replaced, groups) == pytest.approx(replace_random_accuracy(sizes))
    at_once = in_turn(size, 1)
    assert bound(shuffled, at_once) == pytest.approx(shuffle_correlation(size))
    assert bound(replaced, at_once) == pytest.approx(replace_random_correlation(size))
    assert accuracy(replaced, at_once) == pytest.approx(math.exp(-replace_random_correlation(size)))


@pytest.mark.parametrize("size", [3, 4, 5])
def test_insertions_and_removals_at_once_by_hand(size: int) -> None:
    """Before place i of n + 1 nothing has moved (n − i)/(n + 1), after it everything; a removal alike."""
    inserted = sum(
        math.prod((size - i) / (size + 1) for i in range(place))
        * math.prod(i / (size + 1) for i in range(place + 1, size + 1))
        for place in range(size + 1)
    ) / (size + 1)
    removed = sum(
        math.prod((size - 1 - i) / size for i in range(place))
        * math.prod((i + 1) / size for i in range(place, size - 1))
        for place in range(size)
    )
    assert accuracy(joint_of("insert-random", size), in_turn(size + 1, 1)) == pytest.approx(inserted)
    assert accuracy(joint_of("remove-random", size), in_turn(size - 1, 1)) == pytest.approx(removed)


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_kind_allows(kind: str) -> None:
    found = limits(kind)
    assert found.answers == len(joint_of(kind).answers) and found.accuracy[found.positions] == pytest.approx(1)
    assert found.accuracy[1] >= math.exp(-found.correlation) - 1e-12
    if kind.removesuffix(PAIRS) in ONE_ANSWER:
        assert (found.answers, found.correlation, found.greedy) == (1, 0, True)
        assert set(found.accuracy.values()) == {1.0}
    else:
        assert found.answers > 1 and found.correlation > 0.5 and found.accuracy[1] < 0.7
        assert found.greedy == kind.startswith("remove-random")
    if kind != "sudoku":  # whichever question it is
        other = limits(kind, seed=9)
        assert replace(other, accuracy={}, correlation=0) == replace(found, accuracy={}, correlation=0)
        assert other.correlation == pytest.approx(found.correlation) and other.accuracy == pytest.approx(found.accuracy)


def test_names_of_several_tokens_are_harder_to_write_at_once() -> None:
    for kind in ("shuffle", "insert-random", "remove-random", "replace-random"):
        assert limits(kind + PAIRS, 4).accuracy[1] < limits(kind, 4).accuracy[1]
        assert limits(kind + PAIRS, 4).correlation > limits(kind, 4).correlation


def test_puzzles_and_sentences() -> None:
    assert limits("latin-square").correlation == pytest.approx(16 * math.log(4) - math.log(576))
    assert limits("latin-square").accuracy[1] == pytest.approx(576 / 4**16)
    assert limits("sentence-easy").correlation == pytest.approx(math.log(2))  # one noun says which the other is
    assert limits("sentence-easy").accuracy[1] == pytest.approx(0.5)


def test_all_kinds_and_mistakes() -> None:
    assert [each.kind for each in all_limits(3)] == [*KINDS, ANY_ORDER]
    for kind in ("copy", ANY_ORDER):
        with pytest.raises(InvalidRequest, match="list of 9"):
            joint_of(kind, 9)
    with pytest.raises(UnknownName):
        joint_of("any-oder")
    for call in (lambda: shuffle_accuracy([2, 0]), lambda: replace_random_accuracy([]), lambda: shuffle_correlation(0)):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.hint


# -- closed forms against the engine --------------------------------------------------------------------


def decodes(joint: Joint, method: str, samples: int, temperature: float = 1.0) -> list[Generation]:
    settings = {"max_new_tokens": joint.positions, "temperature": temperature, "seed": SEED, "end_tokens": ()}
    found = answer(ExactJoint(torch.from_numpy(joint.table())), [[0]], method, samples=samples, **settings)
    return list(found)


def right(joint: Joint) -> set[Row]:
    return set(map(tuple, joint.answers.tolist()))


def foretold(joint: Joint, groups: Groups, stream: int) -> Row:
    """The tokens that the noise of a stream chooses: at each position the largest of log-probability and draw."""
    known: dict[int, int] = {}
    for group in groups:
        picked = {}
        for at in group:
            key, weights = noise.key(SEED, stream, 1 + at), said(joint, tuple(known.items()), at)
            scores = [log + noise.gumbel_one(key, token) for token, log in enumerate(weights)]
            picked[at] = scores.index(max(scores))
        known |= picked
    return tuple(known[at] for at in range(joint.positions))


@cache
def said(joint: Joint, filled: tuple[tuple[int, int], ...], at: int) -> list[float]:
    """Log-probabilities at a position given what is filled; all alike where that cannot be."""
    table, known = joint.table(), dict(filled)
    part = table[tuple(known.get(each, slice(None)) for each in range(table.ndim))]
    rest = [each for each in range(table.ndim) if each not in known]
    weights = part.sum(tuple(axis for axis, each in enumerate(rest) if each != at))
    shares = weights / weights.sum() if weights.sum() else np.ones(len(weights))
    return [math.log(share) if share else -math.inf for share in shares.tolist()]


def tails(hits: int, tries: int, share: float) -> float:
    """How likely a binomial count is as far out as this one, on the nearer side."""
    chances = [math.comb(tries, k) * share**k * (1 - share) ** (tries - k) for k in range(tries + 1)]
    return min(math.fsum(chances[: hits + 1]), math.fsum(chances[hits:]))


@cache
def world(kind: str, size: int) -> Joint:
    return joint_of(kind, size)


CASES = [  # (kind, words of the list, steps): how the engine is asked, and how right it can be
    (ANY_ORDER, 4, 1, shuffle_accuracy([4])),
    (ANY_ORDER, 4, 2, shuffle_accuracy([2, 2])),
    (ANY_ORDER, 5, 1, shuffle_accuracy([5])),
    ("replace-random", 4, 2, replace_random_accuracy([2, 2])),
    ("replace-random", 5, 1, replace_random_accuracy([5])),
    ("copy", 5, 1, 1.0),
    ("replace-index", 5, 1, 1.0),
]


@pytest.mark.parametrize(("kind", "size", "steps", "share"), CASES)
def test_the_engine_is_as_right_as_the_closed_form_says(kind: str, size: int, steps: int, share: float) -> None:
    """Token by token what the noise foretells; over more streams of it, within three standard errors."""
    joint, groups = world(kind, size), in_turn(world(kind, size).positions, steps)
    assert accuracy(joint, groups) == pytest.approx(share)
    method = f"low-confidence({steps})+blocks({joint.positions // steps})"
    found = decodes(joint, method, samples=25)
    assert all(each.counters.rounds == steps for each in found)
    assert [tuple(each.tokens) for each in found] == [foretold(joint, groups, stream) for stream in range(25)]
    hits = sum(foretold(joint, groups, stream) in right(joint) for stream in range(1000))
    assert tails(hits, 1000, share) > 0.00135


@pytest.mark.parametrize("kind", [ANY_ORDER, "shuffle", "replace-random", "insert-random", "remove-random", "copy"])
def test_one_position_a_step_is_always_right(kind: str) -> None:
    joint = world(kind, 3)
    for method in ("random-order", "low-confidence", "low-confidence+blocks(1)"):
        found = decodes(joint, method, samples=15)
        assert all(tuple(each.tokens) in right(joint) for each in found)
        assert all(bits_of(each.steps).total == pytest.approx(math.log(len(joint.answers))) for each in found)


@pytest.mark.parametrize(("kind", "size", "steps"), [("replace-random", 3, 1), (ANY_ORDER, 3, 1), (ANY_ORDER, 4, 2)])
def test_the_decode_meets_the_bound(kind: str, size: int, steps: int) -> None:
    """Its own trace says how likely each answer was to be written: from the joint, it is as far as must be."""
    joint, groups = world(kind, size), in_turn(world(kind, size).positions, steps)
    found = decodes(joint, f"low-confidence({steps})+blocks({joint.positions // steps})", samples=400)
    written = {tuple(each.tokens): math.exp(-bits_of(each.steps).total) for each in found}
    assert right(joint) <= set(written)
    by_answer = [written[row] for row in map(tuple, joint.answers.tolist())]
    assert by_answer == pytest.approx(likelihoods(joint, groups))
    assert sum(by_answer) == pytest.approx(accuracy(joint, groups))
    assert float(joint.chances @ np.log(joint.chances / by_answer)) == pytest.approx(bound(joint, groups))
    if steps == 1:
        assert sum(written.values()) == pytest.approx(1)  # nothing that can be written is missing


def test_a_random_order_takes_each_order_as_often() -> None:
    """An insertion depends on which positions are filled together."""
    joint = world("insert-random", 3)
    shares = [accuracy(joint, groups) for groups in orders([2, 2])]
    assert max(shares) > 1.5 * min(shares)
    found = decodes(joint, "random-order(2)", samples=300)
    hits = sum(tuple(each.tokens) in right(joint) for each in found)
    assert tails(hits, 300, sum(shares) / len(shares)) > 0.00135
    for each in found[:30]:
        groups = [[at - 1 for at in step.positions] for step in each.steps]
        if tuple(each.tokens) in right(joint):
            at = joint.answers.tolist().index(list(each.tokens))
            assert math.exp(-bits_of(each.steps).total) == pytest.approx(likelihoods(joint, groups)[at])


@pytest.mark.parametrize("kind", [ANY_ORDER, "shuffle", "replace-random", "insert-random", "remove-random", "reverse"])
@pytest.mark.parametrize("steps", [1, 2])
def test_greedy_decoding(kind: str, steps: int) -> None:
    joint = world(kind, 5 if kind == "remove-random" else 3 if kind == "insert-random" else 4)
    (found,) = decodes(joint, f"low-confidence({steps})+blocks({joint.positions // steps})", 1, temperature=0.0)
    assert (tuple(found.tokens) in right(joint)) == greedy(joint, in_turn(joint.positions, steps))


def test_latin_squares_row_by_row() -> None:
    """Of order 3: a row filled at once is right one time in 3^3, the last as often as the rows before it leave it."""
    joint = Joint(np.array(squares(3)), np.full(12, 1 / 12))
    groups = in_turn(9, 3)
    assert accuracy(joint, groups) == pytest.approx((6 / 27) * (2 / 8) * 1)
    found = decodes(joint, "low-confidence(3)+blocks(3)", samples=100)
    assert [tuple(each.tokens) for each in found[:20]] == [foretold(joint, groups, stream) for stream in range(20)]
    assert tails(sum(tuple(each.tokens) in right(joint) for each in found), 100, accuracy(joint, groups)) > 0.00135

"""What is lost by filling together, against sums written out over every row of tokens there is."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from stretto.diagnose.joint import (
    Groups,
    Joint,
    accuracy,
    bound,
    correlations,
    entropy,
    from_table,
    greedy,
    in_turn,
    likelihoods,
    orders,
    total_correlation,
    uniform,
)
from stretto.errors import InvalidRequest

Table = dict[tuple[int, ...], float]
PLANS: list[Groups] = [[[0, 1, 2]], [[0], [1], [2]], [[2, 0], [1]], [[1], [0, 2]], [range(2), [2]]]


def drawn(seed: int, size: int = 3) -> Joint:
    """A joint of three tokens; some rows of tokens cannot be."""
    chance = np.random.default_rng(seed)
    return from_table(chance.random((size,) * 3) ** 2 * (chance.random((size,) * 3) < 0.6))


def written_out(joint: Joint) -> Table:
    return {tuple(row): chance for row, chance in zip(joint.answers.tolist(), joint.chances.tolist(), strict=True)}


def share(table: Table, known: dict[int, int]) -> float:
    return sum(chance for row, chance in table.items() if all(row[at] == token for at, token in known.items()))


def decoded(table: Table, groups: Groups, size: int) -> Table:
    """How likely every row of tokens is to be written by the true conditionals; 0 where a step meets the impossible."""
    found = {}
    for row in itertools.product(range(size), repeat=sum(map(len, groups))):
        chance, known = 1.0, dict[int, int]()
        for group in groups:
            if not share(table, known):
                break  # this row and all that begin alike belong to nobody
            chance *= math.prod(share(table, known | {at: row[at]}) for at in group) / share(table, known) ** len(group)
            known |= {at: row[at] for at in group}
        else:
            found[row] = chance
    return found


def divergence(table: Table, other: Table) -> float:
    return sum(chance * math.log(chance / other[row]) for row, chance in table.items())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("plan", range(len(PLANS)))
def test_the_bound_is_met_by_the_true_conditionals(seed: int, plan: int) -> None:
    joint, groups = drawn(seed), PLANS[plan]
    table = written_out(joint)
    written = decoded(table, groups, 3)
    assert likelihoods(joint, groups) == pytest.approx([written[row] for row in table])
    assert bound(joint, groups) == pytest.approx(divergence(table, written), abs=1e-12)
    assert accuracy(joint, groups) == pytest.approx(sum(written[row] for row in table))
    assert accuracy(joint, groups) >= math.exp(-bound(joint, groups)) - 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_no_other_independent_draw_comes_nearer(seed: int) -> None:
    joint = drawn(seed)
    table, chance = written_out(joint), np.random.default_rng(seed)
    marginals = [np.bincount(joint.answers[:, at], joint.chances, minlength=3) for at in range(3)]
    assert total_correlation(joint) == pytest.approx(sum(entropy(joint, [at]) for at in range(3)) - entropy(joint))
    for scale in (0.01, 0.1, 1.0):
        moved = [(each + scale * chance.random(3)) / (1 + scale * 3) for each in marginals]
        moved = [each / each.sum() for each in moved]
        other = {row: math.prod(moved[at][token] for at, token in enumerate(row)) for row in table}
        assert divergence(table, other) > total_correlation(joint)


def test_entropies_by_hand() -> None:
    joint = from_table([[2, 0], [1, 1]])
    assert joint.chances.tolist() == [0.5, 0.25, 0.25]
    assert entropy(joint) == pytest.approx(1.5 * math.log(2))
    assert entropy(joint, [0]) == pytest.approx(math.log(2)) and entropy(joint, []) == 0
    assert entropy(joint, [1]) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_correlations_of_each_step() -> None:
    """Two fair coins and two that repeat them: what a step loses is what its own positions share."""
    joint = uniform((a, b, a, b) for a, b in itertools.product("xy", repeat=2))
    assert total_correlation(joint) == pytest.approx(2 * math.log(2))
    assert correlations(joint, [[0, 1], [2, 3]]) == pytest.approx([0, 0], abs=1e-12)
    assert correlations(joint, [[0, 2], [1], [3]]) == pytest.approx([math.log(2), 0, 0], abs=1e-12)
    assert correlations(joint, [[0], [1, 2, 3]]) == pytest.approx([0, math.log(2)], abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_greedy_takes_the_likeliest_of_each_position(seed: int) -> None:
    joint = drawn(seed, size=2)
    table = written_out(joint)
    for groups in PLANS:
        known: dict[int, int] = {}
        for group in groups:
            picked = {at: max((0, 1), key=lambda token: share(table, known | {at: token})) for at in group}
            known |= picked
            if not share(table, known):
                break
        assert greedy(joint, groups) == bool(share(table, known))


def test_equally_likely_tokens_are_taken_from_the_lowest() -> None:
    assert greedy(uniform([(0, 0), (1, 1)]), [[0, 1]]) and not greedy(uniform([(0, 1), (1, 0)]), [[0, 1]])
    assert greedy(uniform([(0, 1), (1, 0)]), [[0], [1]])


def test_tables_there_and_back() -> None:
    joint = drawn(3)
    again = from_table(joint.table())
    assert (again.answers == joint.answers).all() and again.chances == pytest.approx(joint.chances)
    words = uniform([("b", "c"), ("a", "c"), ("b", "c")])
    assert words.answers.tolist() == [[0, 2], [1, 2]] and words.chances.tolist() == [0.5, 0.5]


def test_groups() -> None:
    assert in_turn(7, 3) == [range(3), range(3, 5), range(5, 7)] and in_turn(2, 1) == [range(2)]
    found = list(orders([2, 1]))
    assert sorted(map(tuple, found)) == [((0, 1), (2,)), ((0, 2), (1,)), ((1, 2), (0,))]
    assert len(list(orders([1] * 4))) == 24 and len(list(orders([2, 2]))) == 6


def test_mistakes_are_named() -> None:
    joint = drawn(0)
    groups: list[Groups] = [[[0, 1]], [[0], [0, 1, 2]], [[0, 1, 2, 3]]]
    for figure in (correlations, likelihoods, greedy):
        for each in groups:
            with pytest.raises(InvalidRequest, match="3 positions") as caught:
                figure(joint, each)
            assert caught.value.hint
    wrong = [lambda: uniform([]), lambda: uniform([(1,), (1, 2)]), lambda: uniform([()])]
    wrong += [lambda: from_table(1.0), lambda: from_table([0, 0]), lambda: from_table([1, -1]), lambda: in_turn(3, 4)]
    wrong += [lambda: from_table([math.nan, 1]), lambda: in_turn(3, 0), lambda: uniform([range(30)]).table()]
    for mistake in wrong:
        with pytest.raises(InvalidRequest) as refused:
            mistake()
        assert refused.value.hint


def test_nothing_is_lost_where_everything_is_known_or_independent() -> None:
    chance = random.Random(0)
    alone = uniform([[chance.randrange(9) for _ in range(6)]])
    free = uniform(itertools.product(range(3), repeat=3))
    for joint in (alone, free):
        at_once = in_turn(joint.positions, 1)
        assert (bound(joint, at_once), accuracy(joint, at_once)) == (pytest.approx(0, abs=1e-12), pytest.approx(1))

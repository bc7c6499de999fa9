from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from laws.branching import outcomes, table, vector
from laws.worlds import decode
from speculate.drafters.growing import GREEDY, SMALL, WARM, begin, distribution, error, grown, row_of, timed, trees
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.speculate.acceptors.recursive import Recursive
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.acceptors.specinfer import SpecInfer
from stretto.speculate.acceptors.traversal import Traversal
from stretto.speculate.chance import DRAFTING, chance_of
from stretto.speculate.contract import Room
from stretto.speculate.drafters.rsd import Beam, Constant, Stochastic, arrivals
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.specinfer import Independent
from stretto.speculate.growth import Urn
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import ROOT

ACCEPTORS = {"recursive": Recursive(), "traversal": Traversal()}


@pytest.mark.parametrize("acceptor", ACCEPTORS.values(), ids=ACCEPTORS)
@pytest.mark.parametrize("least", [0, 1])
def test_constant_branching_is_exact(acceptor, least):
    """Over all draws and coins, where tokens are missing as well."""
    p, q = table("p", 2, least), table("q", 2, least)
    assert error(lambda chance: grown(Constant((2, 2)), q, Room(9, 9), chance), acceptor, p, 2, 3) == 0
    p, q = table("p", 3, least), table("q", 3, least)
    assert error(lambda chance: grown(Constant((3,)), q, Room(9, 9), chance), acceptor, p, 3, 2) == 0


@pytest.mark.parametrize("acceptor", ACCEPTORS.values(), ids=ACCEPTORS)
@pytest.mark.parametrize("seed", range(4))
def test_a_stochastic_beam_is_exact(acceptor, seed):
    """Whatever the waits are: which sequences survive is decided apart from what they are."""
    p, q = table(("p", seed), 2, seed % 2), table(("q", seed), 2, seed % 2)

    def draw(chance):
        return grown(Stochastic(2), q, Room(5, 9), timed(chance, seed))

    assert error(draw, acceptor, p, 2, 4) == 0


def test_two_siblings_are_accepted_as_often_as_published():
    p, q = vector(5, 3, 2), vector(2, 5, 3)
    accepted = Fraction(0)
    for drafter in (Constant((2,)), Stochastic(2)):

        def experiment(chance, drafter=drafter):
            tree = grown(drafter, lambda path: q, Room(2, 1), timed(chance, 0))
            return len(Recursive().walk(tree, lambda node: p, chance).path)

        accepted = sum(weight * length for weight, length in outcomes(experiment))
        assert accepted == Fraction(283, 350)


def test_children_come_in_the_order_of_their_draws():
    q = vector(2, 5, 3)
    found = {tuple(tree.tokens): weight for weight, tree in trees(Constant((2,)), lambda path: q, Room(9, 9))}
    assert found == {(a, b): q[a] * q[b] / (1 - q[a]) for a, b in itertools.permutations(range(3), 2)}


def test_branches_may_be_more_than_the_tokens_there_are():
    q = {(): vector(0, 1, 3), (1,): vector(0, 0, 1), (2,): vector(1, 1, 1)}
    for _, tree in trees(Constant((3, 2)), q.__getitem__, Room(99, 9)):
        assert sorted(tree.tokens[node] for node in tree.children(ROOT)) == [1, 2]
        one, two = (tree.child_bearing(ROOT, token) for token in (1, 2))
        assert [tree.tokens[node] for node in tree.children(one)] == [2] and len(tree.children(two)) == 2


@pytest.mark.parametrize("missing", [False, True])
def test_a_beam_that_is_wide_enough_holds_all_sequences(missing):
    def q(path):
        weights = np.array([0.5, 0.3, 0.2]) if sum(path) % 2 else np.array([0.1, 0.9 * (not missing), 0.4])
        return weights / weights.sum()

    for seed in range(5):
        tree = grown(Stochastic(27), q, Room(99, 3), chance_of(row_of([0], WARM, seed), DRAFTING))
        found = {tuple(tree.path_tokens(node)) for node in range(len(tree)) if tree.depths[node] == 3}
        every = set(itertools.product(range(3), repeat=3))
        assert found == {s for s in every if math.prod(q(s[:at])[s[at]] for at in range(3)) > 0}


def test_a_first_child_arrives_with_its_parent_and_the_rest_later():
    q = np.array([0.2, 0.5, 0.3])
    beams = [Beam(0, 0, 1.5, 0.6), Beam(1, 1, 0.4, 0.1)]
    for seed in range(5):
        chance = chance_of(row_of([0], WARM, seed), DRAFTING)
        seen: dict[int, list[float]] = {0: [], 1: []}
        for beam, urn, time in arrivals(beams, [Urn(q, chance), Urn(q, chance)], chance):
            urn.take()
            seen[beam.node].append(time)
        for beam in beams:
            assert seen[beam.node][0] == beam.time and len(seen[beam.node]) == 3
            assert seen[beam.node] == sorted(seen[beam.node])


def published(q, width: int, depth: int, noise: np.random.Generator) -> list[tuple[int, ...]]:
    """The slow reference: perturb every continuation, so that the best has its parent's value; keep the largest."""
    beams = [((), 0.0, 0.0)]  # sequence, log-probability, perturbed
    for _ in range(depth):
        level = []
        for sequence, log_p, above in beams:
            log_ps = log_p + np.log(q(sequence))
            loose = log_ps + noise.gumbel(size=len(log_ps))
            tied = -np.log(np.exp(-above) - np.exp(-loose.max()) + np.exp(-loose))
            assert tied.max() == pytest.approx(above, abs=1e-6)
            level += [((*sequence, token), log_ps[token], tied[token]) for token in range(len(log_ps))]
        beams = sorted(level, key=lambda beam: -beam[2])[:width]
    return [sequence for sequence, _, _ in beams]


def test_beams_are_those_of_the_published_form():
    """Both draw sequences without replacement, in order: the exact probability of each pair, and the frequencies."""

    def q(path):
        return np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4]])[sum(path) % 3]

    def own(seed: int) -> tuple[tuple[int, ...], ...]:
        tree = grown(Stochastic(2), q, Room(4, 2), chance_of(row_of([0], WARM, seed), DRAFTING))
        return tuple(tuple(tree.path_tokens(node)) for node in (2, 3))

    runs = 3000
    noise = np.random.default_rng(1)
    ours = Counter(own(seed) for seed in range(runs))
    theirs = Counter(tuple(published(q, 2, 2, noise)) for _ in range(runs))
    p = {s: q(())[s[0]] * q(s[:1])[s[1]] for s in itertools.product(range(3), repeat=2)}
    exact = {(a, b): p[a] * p[b] / (1 - p[a]) for a, b in itertools.permutations(p, 2)}
    for counts in (ours, theirs):
        assert set(counts) <= set(exact)
        surprise = sum((counts[pair] - runs * mass) ** 2 / (runs * mass) for pair, mass in exact.items())
        degrees = len(exact) - 1  # chi-square: mean `degrees`, deviation sqrt(2 degrees)
        assert abs(surprise - degrees) < 4 * math.sqrt(2 * degrees)


def test_at_temperature_0_it_is_a_beam_search():
    drafting = begin(Stochastic(3, SMALL))
    row = row_of([0, 1, 2], GREEDY)
    (tree,) = drafting.propose([drafting.open(row)], [Room(9, 3)])
    beams = [((), 1.0)]
    for depth in (1, 2, 3):
        level = []
        for sequence, mass in beams:
            p = distribution(SMALL, row_of([0, 1, 2], WARM), sequence)
            level += [((*sequence, token), mass * p[token]) for token in range(4)]
        beams = sorted(level, key=lambda beam: -beam[1])[:3]
        nodes = [node for node in range(len(tree)) if tree.depths[node] == depth]
        assert [tuple(tree.path_tokens(node)) for node in nodes] == [sequence for sequence, _ in beams]


def test_settings_out_of_range_are_refused():
    for make in (lambda: Constant(()), lambda: Constant((2, 0)), lambda: Stochastic(0)):
        with pytest.raises(InvalidRequest) as caught:
            make()
        assert caught.value.hint


def test_drafts_that_never_repeat_reach_further():
    """At equal depth and, but for the chain, 16 nodes: distinct siblings and distinct sequences over free draws.

    Over twelve seeds: 2.83, 3.41, 3.52 and 3.56 tokens a round, each ± 0.05: the two distinct ones are not told apart.
    """
    said = TableModel.random(8, seed=1).rule, TableModel.random(8, seed=2).rule
    rules = [cache(lambda path, rule=rule: rule(path)) for rule in said]
    target = TableModel(8, lambda path: rules[0](path[-2:]))
    model = TableModel(8, lambda path: [a + 0.6 * b for a, b in zip(*(rule(path[-2:]) for rule in rules), strict=True)])
    reached = []
    for drafter, acceptor in (
        (Sampled(model), Rejection()),
        (Independent((4, 1, 1, 1), model), SpecInfer()),
        (Constant((4, 1, 1, 1), model), Recursive()),
        (Stochastic(4, model), Recursive()),
    ):
        parts = {"drafter": drafter, "acceptor": acceptor, "planner": Fixed(16, 4), "pipeline": WARM, "new_tokens": 75}
        rows = [row for seed in range(2) for row in decode(target, [[token] for token in range(8)], seed=seed, **parts)]
        reached.append(sum(row.counters.new_tokens for row in rows) / sum(row.counters.rounds for row in rows))
    chain, free, siblings, sequences = reached
    assert min(siblings, sequences) > free + 0.05 and min(siblings, free) > chain + 0.4

"""Planners and drawn tokens: a draft of draws stays a draft of draws, whatever a planner stops or leaves out.

Chains of drawn tokens are enumerated with exact fractions, then judged by the rule of acceptance min(1, p / q) with the
residual, then continued by the model itself. The joint distribution must be the model's.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import pytest

from laws.worlds import GREEDY, conditional
from stretto import catalogue
from stretto.context import Context
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting, Planning, Room
from stretto.speculate.planners.confidence import Confidence
from stretto.speculate.planners.opt_tree import OptTree
from stretto.speculate.planners.smartspec import SmartSpec
from stretto.speculate.planners.specdec import SpecDec
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import NodeKind, Tree

V, LENGTH = 3, 3
TARGET = TableModel.random(V, seed=1)


def p(path):
    return conditional(1, path, V)


def q(path):
    return conditional(3, path, V)


def drafts(room: Room, tree: Tree, weight: Fraction):
    """Every chain that may be drawn within the room, with its probability."""
    path = tuple(tree.tokens)
    full = len(tree) >= min(room.nodes, room.depth, LENGTH)
    if full or (len(tree) and room.more is not None and not room.more(tree)):
        yield tree, weight
        return
    for token, chance in enumerate(q(path)):
        longer = Tree.chain(tree.tokens, proposal=NodeKind.SAMPLED)
        longer.scores = tree.scores.copy()
        longer.add(token, len(tree) - 1, score=float(chance), proposal=NodeKind.SAMPLED)
        yield from drafts(room, longer, weight * chance)


def judged(chain: list[int], path: tuple[int, ...] = ()):
    """Every outcome of one chain under rejection sampling, with its probability: the committed tokens."""
    if not chain:
        for token, chance in enumerate(p(path)):
            yield (*path, token), chance
        return
    token = chain[0]
    accept = min(Fraction(1), p(path)[token] / q(path)[token])
    if accept:
        for committed, chance in judged(chain[1:], (*path, token)):
            yield committed, accept * chance
    residual = [max(a - b, Fraction(0)) for a, b in zip(p(path), q(path), strict=True)]
    if accept < 1:
        for other, mass in enumerate(residual):
            yield (*path, other), (1 - accept) * mass / sum(residual)


def joint(planning: Planning, asks: bool = True) -> dict[tuple[int, ...], Fraction]:
    """The distribution of the first tokens when one round is planned so and the rest is the model's own."""
    row = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))
    found: dict[tuple[int, ...], Fraction] = {}
    (room,) = planning.rooms([row])
    if not asks:  # a drafter that does not know of the rule: the planner cuts its draft afterwards
        room = replace(room, more=None)
    for tree, weight in drafts(room, Tree(), Fraction(1)):
        (verified,) = planning.trim([row], [tree])
        assert verified.tokens == tree.tokens[: len(verified)]
        for committed, chance in judged(verified.tokens):
            for output in itertools.product(range(V), repeat=LENGTH):
                start = min(LENGTH, len(committed))
                if output[:start] == committed[:start]:
                    mass = weight * chance
                    for at in range(start, LENGTH):
                        mass *= p(output[:at])[output[at]]
                    found[output] = found.get(output, Fraction(0)) + mass
    assert sum(found.values()) == 1
    return found


def exactly() -> dict[tuple[int, ...], Fraction]:
    expected = {}
    for output in itertools.product(range(V), repeat=LENGTH):
        mass = Fraction(1)
        for at, token in enumerate(output):
            mass *= p(output[:at])[token]
        expected[output] = mass
    return expected


def planners():
    registered = {name: part() for name, part in catalogue.parts().items() if part.kind == "planner"}
    return registered | {
        "confidence(0.5)": Confidence(0.5),
        "specdec(0.6,1)": SpecDec(0.6, least=1),
        "specdec(calibrated)": SpecDec(0.4, least=1, estimator="calibrated"),
        "opt-tree(2,0.3)": OptTree(2, delta=0.3),
        "smartspec(2)": SmartSpec(2, acceptance=0.9),
    }


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("planner", planners().values(), ids=planners())
def test_drawn_tokens_stay_fair(planner, asks, free):
    drafting = Drafting("drawn", lambda row: None)
    drafting.free = free
    context = Context(TARGET, SimulatedClock(1.0, 0.05), lambda name: TARGET)
    assert joint(planner.begin(context, drafting), asks) == exactly()


def test_leaving_out_a_token_for_what_it_is_would_be_seen():
    """The harness has teeth: a planner that drops unlikely draws biases the output."""

    class Squeamish(Planning):
        def rooms(self, rows):
            return [Room(3, 3)]

        def trim(self, rows, trees):
            keep = [list(itertools.takewhile(lambda n: tree.scores[n] > 0.3, range(len(tree)))) for tree in trees]
            return [tree.prune(nodes) for tree, nodes in zip(trees, keep, strict=True)]

    assert joint(Squeamish()) != exactly()


def test_the_rules_do_stop_within_this_world():
    """Else the law above would say nothing: the same planner lets some drafts grow and stops others."""
    row = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))
    context = Context(TARGET, SimulatedClock(), lambda name: TARGET)
    for planner in (Confidence(0.5), SpecDec(0.6, least=1), OptTree(2, delta=0.3)):
        (room,) = planner.begin(context, Drafting("drawn", lambda row: None)).rooms([row])
        assert len({len(tree) for tree, _ in drafts(room, Tree(), Fraction(1))}) > 1

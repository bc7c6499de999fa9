from __future__ import annotations

import random

import pytest

from laws.worlds import GREEDY
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.row import Limits, Row
from stretto.speculate.contract import NO_ROOM, Drafting, Outcome
from stretto.speculate.planners.thompson import Thompson
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import Tree

CONTEXT = Context(None, SimulatedClock(), lambda name: None)


def row_of(seed: int) -> Row:
    return Row(History([0]), -1, Rule(GREEDY, seed, 0), Limits(10**6))


def run(settings: Thompson, row: Row, rate: float, rounds: int, plan=None):
    """Rounds of drafts whose tokens are accepted independently; the planning and the lengths drafted."""
    plan = plan or settings.begin(CONTEXT, Drafting("s", lambda row: None))
    chance, lengths = random.Random(row.rule.seed), []
    for _ in range(rounds):
        (room,) = plan.rooms([row])
        lengths.append(room.depth)
        tree = Tree.chain([1] * room.depth)
        hits = next((at for at in range(room.depth) if chance.random() > rate), room.depth)
        committed = [1] * hits + [0]
        row.history.extend(committed)
        plan.learn(row, tree, Outcome(tree, list(range(hits)), committed), 0.0)
    return plan, lengths


@pytest.mark.parametrize("seed", range(8))
def test_the_posterior_finds_the_rate(seed):
    """Counting tokens behind the first rejection as failures would pull it far below."""
    row = row_of(seed)
    plan, _ = run(Thompson(8, fade=1.0), row, 0.8, 1500)
    assert plan.posterior(row).mean == pytest.approx(0.8, abs=0.03)


def test_lengths_are_geometric_in_the_believed_rate():
    row = row_of(1)
    _, lengths = run(Thompson(40, fade=1.0), row, 0.75, 3000)
    late = lengths[500:]
    assert sum(late) / len(late) == pytest.approx(0.75 / 0.25, rel=0.08)
    assert late.count(0) / len(late) == pytest.approx(0.25, abs=0.03)


def test_fading_follows_a_text_that_changes():
    row = row_of(2)
    plan, _ = run(Thompson(8, fade=0.95), row, 0.9, 200)
    assert plan.posterior(row).mean > 0.8
    plan, lengths = run(Thompson(8, fade=0.95), row, 0.1, 200, plan)
    assert plan.posterior(row).mean < 0.3
    assert sum(lengths[-50:]) < 60


def test_coins_are_the_rows_own():
    """The same lengths alone and in a batch; others for another seed."""
    settings = Thompson(8, fade=1.0)
    one, two = settings.begin(CONTEXT, Drafting("s", None)), settings.begin(CONTEXT, Drafting("s", None))
    rows = [row_of(1), row_of(2), row_of(3)]
    alone = [[one.rooms([row])[0].depth for row in rows]]
    together = [[room.depth for room in two.rooms(rows)]]
    for _ in range(20):
        for row in rows:
            row.history.extend([0])
        alone.append([one.rooms([row])[0].depth for row in rows])
        together.append([room.depth for room in two.rooms(rows)])
    assert alone == together
    assert len({tuple(lengths) for lengths in zip(*together, strict=True)}) == 3


def test_what_was_not_judged_teaches_nothing():
    row = row_of(0)
    plan = Thompson(8).begin(CONTEXT, Drafting("s", None))
    before = plan.posterior(row).mean
    plan.learn(row, Tree(), Outcome(Tree(), [], [3]), 0.0)
    assert plan.posterior(row).mean == before == 0.5


def test_rows_that_leave_are_forgotten_and_a_new_one_may_begin_where_they_ended():
    rows = [row_of(seed) for seed in range(3)]
    for keep in (False, True):
        context = Context(None, SimulatedClock(), lambda name: None)
        plan = Thompson(8, keep=keep).begin(context, Drafting("s", None))
        plan.rooms(rows)
        tree = Tree.chain([1, 1, 1])
        for _ in range(30):
            plan.learn(rows[0], tree, Outcome(tree, [0, 1, 2], [1, 1, 1, 0]), 0.0)
        plan.rooms(rows[:1])
        assert set(plan._posteriors) == {rows[0]}
        again = Thompson(8, keep=keep).begin(context, Drafting("s", None))
        assert (again.posterior(rows[1]).mean > 0.9) == keep


def test_width_gives_trees_room():
    plan = Thompson(8, width=3).begin(CONTEXT, Drafting("s", None))
    rooms = plan.rooms([row_of(seed) for seed in range(30)])
    assert all(room == NO_ROOM or room.nodes == 3 * room.depth for room in rooms)
    assert any(room.depth for room in rooms)


def test_text_form_and_mistakes():
    assert method.parse("draft+thompson(8,keep=true)").plan == Thompson(8, keep=True)
    for settings in ({"most": 0}, {"fade": 0.0}, {"accepted": 0.0}, {"rejected": -1.0}, {"width": 0}):
        with pytest.raises(InvalidRequest):
            Thompson(**settings)

from __future__ import annotations

import itertools
import random

import pytest

from laws.worlds import GREEDY, Guesser, decode
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting, Outcome, Planner
from stretto.speculate.planners.smartspec import Latency, SmartSpec, SmartSpecPlanning, best_lengths
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import Tree


def row_of(length: int = 1) -> Row:
    return Row(History([0] * length), -1, Rule(GREEDY, 0, 0), Limits(999))


def planning(settings: SmartSpec, clock, free: bool = False, **more):
    drafting = Drafting("s", lambda row: None)
    drafting.free = free
    context = Context(None, clock, lambda name: None)
    plan = settings.begin(context, drafting)
    return SmartSpecPlanning(settings, context, drafting, plan._shared, **more) if more else plan


@pytest.mark.parametrize(
    ("rate", "per", "length", "goodput"),
    [(0.9, 0.05, 6, 2.675), (0.9, 0.5, 4, 1.050), (0.6, 0.05, 2, 1.452), (0.6, 0.5, 1, 0.762)],
)
def test_reference_table(rate, per, length, goodput):
    """T = 1 + per · (k + 1) + .1 · k for one request, k up to 6."""

    def verify(k):
        return 1.0 + per * (k + 1)

    assert best_lengths([rate], [6], verify, 0.1) == [length]
    expected = sum(rate**at for at in range(length + 1))
    assert expected / (verify(length) + 0.1 * length) == pytest.approx(goodput, abs=6e-4)
    if rate == 0.9 and per == 0.05:
        assert 1 / verify(0) == pytest.approx(0.952, abs=5e-4)


@pytest.mark.parametrize("node_seconds", [0.0, 0.02, 0.2])
def test_lengths_are_the_best_of_all(node_seconds):
    """By enumeration over all lengths of three rows, their limits kept."""
    chance = random.Random(1)
    for _ in range(30):
        rates = [chance.random() for _ in range(3)]
        limits = [chance.randrange(5) for _ in range(3)]
        per = chance.choice([0.02, 0.2, 0.8])

        def verify(k, per=per):
            return 1.0 + per * 3 * (k + 1)

        def goodput(lengths, rates=rates, verify=verify):
            expected = sum(sum(a**at for at in range(k + 1)) for a, k in zip(rates, lengths, strict=True))
            return expected / (verify(max(lengths)) + node_seconds * sum(lengths))

        best = max(goodput(lengths) for lengths in itertools.product(*(range(limit + 1) for limit in limits)))
        found = best_lengths(rates, limits, verify, node_seconds)
        assert all(length <= limit for length, limit in zip(found, limits, strict=True))
        assert goodput(found) == pytest.approx(best)


def test_load_turns_drafting_off():
    """Where tokens cost compute, the length falls to none as the batch grows."""
    clock = SimulatedClock(1.0, 0.04)
    lengths = []
    for rows in (1, 2, 4, 8, 16, 32, 64):
        plan = planning(SmartSpec(6), clock)
        lengths.append(plan.rooms([row_of() for _ in range(rows)])[0].depth)
    assert lengths == sorted(lengths, reverse=True) and lengths[0] >= 3 and lengths[-1] == 0


def latency(rate: float, lengths) -> float:
    """Mean time in a server of requests of 20 tokens that arrive at random, drafts accepted with .7."""
    clock, chance = SimulatedClock(1.0, 0.04), random.Random(4)
    arrivals = list(itertools.accumulate(chance.expovariate(rate) for _ in range(150)))
    time, waiting, active, spent = 0.0, arrivals[::-1], [], []
    while waiting or active:
        if not active:
            time = max(time, waiting[-1])
        while waiting and waiting[-1] <= time:
            active.append([waiting.pop(), 20])
        length = lengths(len(active))
        time += clock.cost(1 + length, len(active)) + 0.05 * length
        for request in active:
            request[1] -= 1 + next((at for at in range(length) if chance.random() > 0.7), length)
        spent += [time - arrived for arrived, left in active if left <= 0]
        active = [request for request in active if request[1] > 0]
    return sum(spent) / len(spent)


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.2])
def test_requests_wait_no_longer_than_with_the_best_constant_length(rate):
    clock = SimulatedClock(1.0, 0.04)

    def adaptive(rows: int) -> int:
        return max(best_lengths([0.7] * rows, [5] * rows, lambda k: clock.cost(1 + k, rows), 0.05 / rows))

    constant = min(latency(rate, lambda rows, k=k: k) for k in (0, 1, 3, 5))
    assert latency(rate, adaptive) <= 1.03 * constant


def test_acceptance_is_learnt_per_row():
    plan = planning(SmartSpec(6, fade=0.9), SimulatedClock(1.0, 0.05))
    good, bad = row_of(), row_of()
    for _ in range(40):
        rooms = plan.rooms([good, bad])
        for row, room, token in zip((good, bad), rooms, (1, 2), strict=True):
            tree = Tree.chain([token] * room.depth)
            plan.learn(row, tree, Outcome(tree, [], [1] * (1 + room.depth)), 0.02 * room.depth)
    (first, second) = plan.rooms([good, bad])
    assert first.depth == 6 and second.depth <= 1
    assert plan.belief(good).rate.value > 0.9 > 0.1 > plan.belief(bad).rate.value


def test_the_time_to_read_a_prompt_is_not_counted_as_drafting():
    plan = planning(SmartSpec(6), SimulatedClock(1.0, 0.05))
    first, second = row_of(), row_of()
    tree = Tree.chain([1] * 4)
    for rows, seconds in (([first], 40.0), ([first], 0.04), ([first, second], 90.0), ([first, second], 0.03)):
        plan.rooms(rows)
        for row in rows:
            plan.learn(row, tree, Outcome(tree, [], [1] * 5), seconds)
    plan.rooms([first])
    assert plan._shared.node.seconds == pytest.approx(0.03 / 4)


def test_a_hiccup_hardly_makes_drafted_tokens_dearer():
    plan = planning(SmartSpec(6), SimulatedClock(1.0, 0.05))
    row, tree = row_of(), Tree.chain([1] * 4)
    for seconds in (9.0, 0.04, 4.0):  # the first reads the prompt
        plan.rooms([row])
        plan.learn(row, tree, Outcome(tree, [], [1] * 5), seconds)
    plan.rooms([row])
    assert plan._shared.node.seconds == pytest.approx(0.0105)


def test_a_round_is_timed_with_its_padding_and_all_that_it_reads():
    time = [0.0]
    plan = planning(SmartSpec(6, online=True), SimulatedClock(1.0, 0.1), now=lambda: time[0])
    rows, trees = [row_of(3), row_of(5)], [Tree.chain([1]), Tree.chain([1] * 4)]
    plan.rooms(rows)
    plan.trim(rows, trees)
    for row, tree in zip(rows, trees, strict=True):
        time[0] += 1.5  # what comes after the first row learns is no part of the forward
        plan.learn(row, tree, Outcome(tree, [], [2]), 0.0)
    assert list(plan._rounds) == [(8, 2 * 5, 1.5)]


def test_a_row_that_does_not_draft_is_probed():
    plan = planning(SmartSpec(6, acceptance=0.05, probe=5), SimulatedClock(1.0, 1.0))
    row, drafted = row_of(), []
    for at in range(40):
        (room,) = plan.rooms([row])
        drafted.append(room.depth)
        tree = Tree.chain([1] * room.depth)
        plan.learn(row, tree, Outcome(tree, [], [2]), 0.0)
    assert set(drafted) == {0, 1} and 5 <= drafted.count(1) <= 8


def test_proposals_shorter_than_hoped_are_judged_as_they_are():
    """A free drafter proposes what it finds; the window is as long as pays for what was found."""
    plan = planning(SmartSpec(6, acceptance=0.9), SimulatedClock(1.0, 0.1), free=True)
    rows = [row_of(), row_of()]
    assert [room.depth for room in plan.rooms(rows)] == [6, 6]
    kept = plan.trim(rows, [Tree.chain([1] * 2), Tree()])
    assert [len(tree) for tree in kept] == [2, 0]
    half = planning(SmartSpec(6, acceptance=0.9), SimulatedClock(1.0, 0.3), free=True)
    assert [len(tree) for tree in half.trim(rows, [Tree.chain([1] * 6)] * 2)] > [0, 0]
    assert [len(tree) for tree in half.trim(rows, [Tree.chain([1] * 6), Tree()])] == [0, 0]  # all wait for one row
    busy = planning(SmartSpec(6, acceptance=0.9), SimulatedClock(1.0, 5.0), free=True)
    assert [len(tree) for tree in busy.trim(rows, [Tree.chain([1] * 6), Tree()])] == [0, 0]


def test_least_squares_recover_the_planted_latency():
    chance = random.Random(2)
    rounds = [(chance.randrange(5000), chance.randrange(1, 60)) for _ in range(30)]
    found = Latency.fit([(n, t, 3e-6 * n + 2e-4 * t + 0.01) for n, t in rounds])
    assert (found.per_context, found.per_token, found.start) == pytest.approx((3e-6, 2e-4, 0.01))
    assert Latency.fit([(n, 4, 1.0) for n, _ in rounds]) is None  # all of one size: not told apart
    assert Latency.fit([]) is None


def test_online_the_rounds_of_this_decode_are_the_clock():
    """The clock says that tokens are dear; the rounds that run say that they are free."""
    time = [0.0]
    plan = planning(SmartSpec(6, acceptance=0.8, probe=1, online=True), SimulatedClock(1.0, 9.0), now=lambda: time[0])
    row, depths = row_of(), []
    for at in range(64):
        (room,) = plan.rooms([row])
        depths.append(room.depth)
        tree = Tree.chain([1] * (room.depth if at % 2 else 0))
        plan.trim([row], [tree])
        time[0] += 1.0 + 1e-4 * len(row.history.tokens) + 0.01 * (1 + len(tree))
        row.history.extend([1] * (1 + len(tree)))
        plan.learn(row, tree, Outcome(tree, list(range(len(tree))), [1] * (1 + len(tree))), 0.0)
    assert max(depths[:16]) <= 1 and depths[-1] == 6


def test_without_drafts_a_decode_is_the_plain_one():
    target = TableModel.random(4, seed=1)
    never = Guesser(lambda tokens, room: pytest.fail("nothing pays here") if room.nodes else Tree())
    plan = SmartSpec(6, acceptance=0.0, probe=10**6)
    row = decode(target, [[0, 1]], drafter=never, planner=Costly(plan), new_tokens=20)[0]
    assert row.new_tokens == decode(target, [[0, 1]], new_tokens=20)[0].new_tokens
    assert row.counters.token_forwards == row.counters.rounds == 20


class Costly(Planner):
    """The planner told that its drafter costs something."""

    def __init__(self, settings):
        self.settings = settings

    def begin(self, context, drafting):
        drafting.free = False
        return self.settings.begin(context, drafting)


@pytest.mark.parametrize("settings", [{"most": 0}, {"acceptance": 1.5}, {"fade": 0.0}, {"probe": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest):
        SmartSpec(**settings)

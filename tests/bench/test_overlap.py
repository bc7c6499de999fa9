"""Two workers on the simulated clock."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from laws.worlds import choice_functions, conditional
from stretto.bench.claims.overlap import Workers, in_turn, plainly, side_by_side
from stretto.models.clock import SimulatedClock

FLAT = SimulatedClock(1.0, 0.0)  # a window costs what one token does, as on a large accelerator


def counting(text) -> int:
    return (text[-1] + 1) % 7


def agreeing(rate: float):
    """A draft that is right with this chance, independently at every text."""

    def choose(text) -> int:
        right = random.Random(f"{list(text)}").random() < rate
        return counting(text) if right else (text[-1] + 2) % 7

    return choose


def workers(rate: float, cost: float, clock=FLAT) -> Workers:
    return Workers(counting, agreeing(rate), clock, SimulatedClock(cost, 0.0))


EXPECTED = [(1 + at) % 7 for at in range(60)]


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_the_text_is_the_targets_own(rate, ahead):
    for new_tokens in (1, 2, 7, 60):
        for timeline in (
            plainly(workers(rate, 0.2), [0], new_tokens),
            in_turn(workers(rate, 0.2), [0], new_tokens, ahead),
            side_by_side(workers(rate, 0.2), [0], new_tokens, ahead),
        ):
            assert timeline.tokens == EXPECTED[:new_tokens]


@pytest.mark.parametrize(("ahead", "cost", "seconds"), [(5, 0.2, 1.0), (5, 0.1, 1.0), (5, 0.3, 1.5), (3, 0.5, 1.5)])
def test_a_draft_that_is_always_right_gives_a_draft_per_round(ahead, cost, seconds):
    """Each round takes max(T_target, g · T_draft); the first judges one token, each other one commits g."""
    timeline = side_by_side(workers(1.0, cost), [0], 1 + 8 * ahead, ahead)
    assert [len(each.committed) for each in timeline.rounds] == [1] + [ahead] * 8
    assert [each.mode for each in timeline.rounds] == ["pre-verify"] + ["post-verify"] * 8
    assert all(each.seconds == pytest.approx(seconds) for each in timeline.rounds[:-1])
    assert timeline.seconds == pytest.approx(timeline.rounds[-1].target[0] + timeline.rounds[-1].seconds)


def test_a_draft_that_is_always_wrong_costs_no_forward():
    timeline = side_by_side(workers(0.0, 0.2), [0], 30, 5)
    assert [len(each.committed) for each in timeline.rounds] == [1] * 30
    assert {each.mode for each in timeline.rounds} == {"pre-verify"}
    assert timeline.seconds == pytest.approx(plainly(workers(0.0, 0.2), [0], 30).seconds)


@pytest.mark.parametrize(("cost", "gain"), [(0.1, 1.154), (0.2, 1.238)])
def test_side_by_side_beats_taking_turns_beats_plain(cost, gain):
    """With four of five tokens right: the rates that theory says, the best length of ordinary speculation included.

    A round of ordinary speculation commits (1 − a^(g + 1)) / (1 − a) tokens in 1 + g · c. Side by side a round takes
    1. With nothing waiting it commits 1, and something waits next with probability a; else it commits
    (1 − a^g) / (1 − a), and something waits next with a^g.
    """
    a, ahead = 0.8, round(1 / cost)
    waiting = a / (1 + a - a**ahead)  # of all rounds
    rate = 1 - waiting + waiting * (1 - a**ahead) / (1 - a)
    turns = {k: (1 - a ** (k + 1)) / (1 - a) / (1 + k * cost) for k in range(1, 12)}
    assert rate / turns[ahead] == pytest.approx(gain, abs=5e-4)
    assert rate > max(turns.values()) > 1
    two, texts = workers(a, cost), [[start, other] for start in range(6) for other in range(6)]
    simulated = sum(side_by_side(two, text, 120, ahead).seconds for text in texts)
    assert len(texts) * 120 / simulated == pytest.approx(rate, rel=0.04)
    simulated = sum(in_turn(two, text, 120, ahead).seconds for text in texts)
    assert len(texts) * 120 / simulated == pytest.approx(turns[ahead], rel=0.04)


def test_rounds_follow_one_another_and_windows_cost_what_the_clock_says():
    clock = SimulatedClock(1.0, 0.1)
    timeline = side_by_side(workers(0.7, 0.3, clock), [0], 60, 4)
    now = 0.0
    for each in timeline.rounds:
        assert each.draft[0] == each.target[0] == pytest.approx(now)
        assert each.target[1] - now == pytest.approx(1.0 + 0.1 * len(each.verified))
        assert each.draft[1] - now == pytest.approx(0.3 * len(each.drafted))
        now += each.seconds
    assert timeline.seconds == pytest.approx(now)


def test_modes_and_waiting_tokens_are_consistent():
    """After each round: what was drafted and not refuted waits; a refutation empties the queue."""
    timeline = side_by_side(workers(0.7, 0.2), [0], 200, 4)
    modes = {each.mode for each in timeline.rounds}
    assert modes == {"pre-verify", "post-verify"}
    for before, after in itertools.pairwise(timeline.rounds[:-1]):
        ready = before.verified + before.drafted
        agreed = ready[: len(before.committed)] == before.committed
        assert after.verified == (ready[len(before.committed) :] if agreed else [])
        assert (after.mode == "post-verify") == bool(after.verified)
        assert len(after.verified) <= 3  # one of the four was judged beside them


def test_what_is_committed_does_not_depend_on_what_is_dropped_later():
    """Two drafts that differ only behind their first mistake give one log, but for the dropped tokens."""

    def garbage(text) -> int:
        wrong = any(b != counting([a]) for a, b in itertools.pairwise(text))
        return 6 if wrong else agreeing(0.7)(text)

    def sense(text) -> int:
        wrong = any(b != counting([a]) for a, b in itertools.pairwise(text))
        return counting(text) if wrong else agreeing(0.7)(text)

    logs = []
    for draft in (garbage, sense):
        timeline = side_by_side(Workers(counting, draft, FLAT, SimulatedClock(0.2, 0.0)), [0], 100, 5)
        logs.append([(each.mode, each.committed, each.target, each.draft) for each in timeline.rounds])
    assert logs[0] == logs[1]


def test_the_target_is_only_asked_after_texts_that_hold():
    """Every token it chooses is committed, so no choice was spent on a text that was refuted."""
    asked = []

    def target(text) -> int:
        asked.append((list(text), counting(text)))
        return asked[-1][1]

    timeline = side_by_side(Workers(target, agreeing(0.6), FLAT, SimulatedClock(0.2, 0.0)), [0], 50, 4)
    text = [0, *timeline.tokens]
    assert all(before == text[: len(before)] for before, _ in asked)


@pytest.mark.parametrize("seed", range(4))
def test_through_both_modes_the_joint_distribution_is_the_models(seed):
    """By enumeration with fractions, over all choice functions of target and of a draft correlated with it."""
    vocabulary, depth = 2, 3
    joint: dict[tuple[int, ...], Fraction] = {}
    modes = set()
    for choices in choice_functions(vocabulary, depth):
        weight = Fraction(1)
        for path, token in choices.items():
            weight *= conditional(seed, path, vocabulary)[token]

        def target(text, choices=choices) -> int:
            return choices[tuple(text[1:])]

        def draft(text, choices=choices) -> int:  # right after short texts and after some others
            path = tuple(text[1:])
            return choices[path] if len(path) < 2 and path in choices else sum(path) % 2

        timeline = side_by_side(Workers(target, draft, FLAT, FLAT), [0], depth, 2)
        modes |= {each.mode for each in timeline.rounds}
        output = tuple(timeline.tokens)
        joint[output] = joint.get(output, Fraction(0)) + weight
    assert modes == {"pre-verify", "post-verify"}
    for output in itertools.product(range(vocabulary), repeat=depth):
        exact = Fraction(1)
        for at, token in enumerate(output):
            exact *= conditional(seed, output[:at], vocabulary)[token]
        assert joint.get(output, Fraction(0)) == exact

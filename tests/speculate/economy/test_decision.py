"""A drafter that takes forwards is asked where it earns them, and where it gets further than what is free."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest

from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Outcome
from stretto.speculate.economy.acceptance import ByLook
from stretto.speculate.economy.decision import CREEP, MARGIN, SWIFT, Asking, Costly, Pause, Price, Speed
from stretto.tree import Tree

LEVEL = 0.2  # of a window of one token


def asking(most: int = 8, watched: bool = True, window: float = 0.05):
    clock = SimulatedClock(1.0, window)
    return Asking(Costly(), ByLook(), Speed(), clock.cost, most=most, watched=watched)


def play(asked: Asking, right: bool, rounds: int, told=None, level: float = LEVEL, slow: float = 1.0):
    """Rounds of one row in which a draft of any depth is wholly right or wrong; which of them it was asked in."""
    tried, since = [], 0
    for at in range(rounds):
        asked.begin(1)
        levels = asked.levels(Tree())
        tree = Tree.chain([1] * levels, source="model", score=0.9)
        path = list(range(levels)) if right else []
        outcome = Outcome(tree, path, [1] * len(path) + [0], seconds=slow * (1.0 + 0.05 * levels))
        if levels and told is not None:
            outcome.missed = [(0.9, told)] * since
        asked.learn(tree, outcome, slow * level * levels)
        since = 0 if levels else since + len(outcome.committed)
        tried += [at] if levels else []
    return tried


def test_one_that_is_right_is_asked_in_every_round_and_one_that_is_wrong_ever_more_rarely():
    assert play(asking(), right=True, rounds=50) == list(range(50))
    tried = play(asking(), right=False, rounds=300)
    gaps = [after - before for before, after in itertools.pairwise(tried)]
    assert len(tried) <= 10 and gaps == sorted(gaps) and gaps[-1] >= 64


def test_what_was_missed_counts_as_if_it_had_been_asked():
    """One unlucky beginning is made good by what it would have guessed since."""
    for told in (True, False):
        unlucky = asking()
        play(unlucky, right=False, rounds=40)
        tried = play(unlucky, right=False, rounds=60, told=told)
        assert tried[0] < 30 and (tried[0] + 1 in tried) == told


def test_it_is_asked_where_it_gets_further_than_what_is_free():
    asked = asking()
    play(asked, right=True, rounds=10)  # eight tokens a time
    free = Tree.chain([1], source="free")
    asked.begin(1)
    assert asked.levels(free) == 8
    assert asked.levels(free, 1, 1.5) == 8
    assert asked.levels(free, 12, 9.5) == 0


def test_it_is_asked_where_it_brings_more_than_decoding_writes_in_that_time_of_late():
    """Eight tokens for two windows' time: worth it beside plain decoding, a trial beside copies of five a window."""
    for speed, levels in ((1.0, 8), (3.5, 8), (5.0, 1)):
        asked = asking()
        play(asked, right=True, rounds=10)
        asked._speed.add(100 * speed, 100)
        asked.begin(1)
        assert MARGIN * 3.5 < 8 / (8 * LEVEL + 8 * 0.05) < MARGIN * 5
        assert asked.levels(Tree()) == levels, speed


def test_speed_is_that_of_the_last_rounds_and_never_below_plain():
    speed = Speed()
    assert speed.worth(0.5) == 2.0
    for _ in range(60):
        speed.add(plain=3.0, taken=1.0)
    assert speed.worth(1.0) == pytest.approx(3.0, rel=0.1)
    for _ in range(60):
        speed.add(plain=1.0, taken=2.0)
    assert speed.worth(1.0) == 1.0
    before = speed.taken
    for _ in range(8):
        speed.add(0.0, 0.0, rows=8)
    assert speed.taken == pytest.approx(SWIFT * before)  # one round, of eight rows


@pytest.mark.parametrize("slow", [0.5, 1.0, 4.0])
def test_a_machine_that_is_slower_than_its_clock_changes_nothing(slow):
    """What a level takes is compared with what the target's windows take now."""
    assert play(asking(), right=True, rounds=30, slow=slow) == list(range(30))
    dear = asking()
    assert len(play(dear, right=True, rounds=60, level=1.4, slow=slow)) <= 8


def test_a_chain_goes_on_while_the_next_token_is_worth_a_level():
    asked = asking()
    play(asked, right=False, rounds=2)
    for _ in range(4):
        asked._rates.learn(Tree.chain([1, 1], source="model", score=0.9), [1, 0])
    for reach, further in ((1.0, True), (0.05, False)):
        chain = Tree.chain([1, 1], source="model", score=0.9)
        assert asked.further(chain, [reach, reach]) is further


def test_one_that_cannot_be_stopped_is_asked_for_no_more_than_pays():
    asked = asking(most=16, watched=False)
    for _ in range(60):  # half of the first tokens are right, a quarter of the second ones …
        asked.begin(1)
        levels = asked.levels(Tree())
        tree = Tree.chain([1] * levels, source="model")
        hits = min(levels, _ % 3)
        asked._rates.learn(tree, [1] * hits + [0])
        asked.learn(tree, Outcome(tree, list(range(hits)), [1] * hits + [0], seconds=1.0), 0.1 * levels)
    asked.begin(1)
    assert 1 <= asked.levels(Tree()) <= 4


def test_a_trial_in_a_batch_is_of_a_few_rows():
    asked, rows = asking(), range(16)
    asked.begin(16)
    assert [asked.levels(Tree()) for _ in rows] == [2] * 4 + [0] * 12
    tree = Tree.chain([1, 1], source="model", score=0.9)
    for path in ([0, 1],) * 4:  # a level takes 0.2 for each of these rows: of four, as the clock would see them
        asked.learn(tree, Outcome(tree, path, [1, 1, 0], seconds=1.1 / 16), 4 * 2 * LEVEL / 16, 4 * LEVEL)
    assert asked._known.price.seconds == pytest.approx(asked._known.pace * LEVEL)
    assert asked._known.seconds / asked._known.times == pytest.approx(asked._known.pace * 2 * LEVEL, rel=0.3)


def tried(pause: Pause, rounds: int) -> list[int]:
    """The rounds in which it is, and found not to pay."""
    found = []
    for at in range(rounds):
        if pause.over():
            found.append(at)
            pause.begin(32)
    return found


def test_pauses_double_up_to_the_longest():
    assert [b - a for a, b in pairwise(tried(Pause(), 160))] == [3, 5, 9, 17, 33, 33, 33]
    pause = Pause()
    pause.begin(128, least=16)
    assert pause.left == 16
    pause.begin(128, least=16)
    assert pause.left == 32


def test_what_pays_is_tried_at_once_and_its_past_is_forgotten():
    pause = Pause()
    tried(pause, 72)
    assert not pause.over()
    pause.end()
    assert tried(pause, 6) == [0, 3]


def test_a_pause_that_is_cut_is_followed_by_a_longer_one():
    pause = Pause()
    tried(pause, 8)  # after 0, 3: four rounds to come
    pause.cut()
    assert tried(pause, 20) == [0, 9]


def test_a_price_is_the_least_of_late():
    price = Price()
    price.add(0.15)
    price.add(0.05)
    assert price.seconds == 0.05
    price.add(7.0)  # a hiccup
    assert price.seconds == pytest.approx((1 + CREEP) * 0.05)

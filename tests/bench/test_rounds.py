from __future__ import annotations

import pytest

from stretto.bench.rounds import POINTS, Pass, Profile, Round, middle, of_passes, of_steps, pace
from stretto.generation import Step


def test_a_tree_by_hand():
    """Nodes 0 and 1 under the root, 2 and 3 under 1, 4 under 3: 1 and 3 were accepted, 4 refused."""
    step = Step(
        position=10,
        committed=[21, 23, 99],
        sources=["a", "b", ""],
        drafted=[20, 21, 22, 23, 24],
        parents=[-1, -1, 1, 1, 3],
        drafters=["a", "a", "a", "b", "b"],
        accepted=[1, 3],
        seconds=0.5,
        draft_seconds=0.1,
    )
    (found,) = of_steps([step])
    assert found == Round(6, 2, True, 3, 0.5, 0.1, (1, 1), (("a", 3, 1), ("b", 2, 1)))


@pytest.mark.parametrize(
    ("drafted", "parents", "accepted", "refused"),
    [([], [], [], False), ([5], [-1], [], True), ([5], [-1], [0], False), ([5, 6], [-1, 0], [0], True)],
)
def test_whether_a_deeper_guess_was_refused(drafted, parents, accepted, refused):
    committed = [1] * (len(accepted) + 1)
    step = Step(0, committed, [""] * len(committed), drafted, parents, [""] * len(drafted), accepted)
    assert of_steps([step])[0].refused is refused


def test_a_guess_below_the_end_was_not_refused():
    step = Step(0, [5], ["a"], [5, 6], [-1, 0], ["a", "a"], [0])
    assert of_steps([step])[0].refused is False


def test_passes_of_transformers_by_hand():
    """A prompt of 10 tokens, then windows of 4 (3 drafted, 2 held), 4 (none held), 1, at seconds 1, 3, 4 and 6."""
    passes = [Pass(1.0, 9, 1), Pass(3.0, 10, 4), Pass(4.0, 13, 4), Pass(6.0, 14, 1)]
    found = of_passes(passes, 6)
    assert [r.committed for r in found] == [1, 3, 1, 1]
    assert [r.accepted for r in found] == [0, 2, 0, 0]
    assert [r.refused for r in found] == [False, True, True, False]
    assert [r.seconds for r in found] == [0.0, 2.0, 1.0, 2.0]  # the first holds the prompt
    assert sum(r.committed for r in found) == 6


def test_a_row_that_ended_before_the_others():
    passes = [Pass(float(at), 9 + at, 1) for at in range(8)]
    assert [r.committed for r in of_passes(passes, 5)] == [1] * 5
    assert of_passes([], 0) == []


def test_the_last_pass_was_cut():
    """Five drafted and held, but the answer ended with the second of them."""
    found = of_passes([Pass(0.0, 4, 1), Pass(1.0, 5, 6)], 3)
    assert [(r.committed, r.accepted, r.refused) for r in found] == [(1, 0, False), (2, 1, False)]


def test_profile_by_hand():
    rounds = [
        Round(4, 2, True, 3, 0.4, 0.1, (0, 1), (("a", 3, 2),)),
        Round(4, 0, True, 1, 0.2, 0.0, (), (("a", 2, 0), ("b", 1, 0))),
        Round(1, 0, False, 1, 0.1),
        Round(4, 3, False, 4, 0.6, 0.2, (0, 0, 0), (("b", 3, 3),)),
        Round(9, 0, False, 1, 0.0),  # not timed
    ]
    profile = Profile.of(rounds)
    assert profile.rounds == 5
    assert profile.depths == [[3, 2], [2, 2], [2, 1]]
    assert profile.ranks == [4, 1]
    assert profile.sources == {"a": [5, 2], "b": [4, 3]}
    assert profile.windows == [[1, 1, 0.1], [4, 3, pytest.approx(0.3)]]
    profile.add(Profile.of([Round(6, 4, True, 5, 1.0, 0.0, (2, 0, 0, 0), (("c", 5, 4),))]))
    assert profile.rounds == 6
    assert profile.depths == [[4, 3], [3, 3], [3, 2], [1, 1], [1, 0]]
    assert profile.ranks == [7, 1, 1] and profile.sources["c"] == [5, 4]


def test_adding_leaves_the_other_alone():
    other = Profile.of([Round(2, 1, False, 2, 1.0, 0.0, (0,), (("a", 1, 1),))])
    total = Profile()
    for _ in range(2):
        total.add(other)
    assert total.depths == [[2, 2]] and other.depths == [[1, 1]] and other.sources == {"a": [1, 1]}


def test_pace():
    assert pace([Round(1, 0, False, 1, 0.0), Round(3, 1, True, 2, 0.5), Round(1, 0, False, 1, 0.25)]) == [
        [0, 0.0],
        [2, 0.5],
        [3, 0.75],
    ]
    long = pace([Round(1, 0, False, 1, 0.1)] * 1000)
    assert len(long) <= POINTS + 1 and long[-1] == [1000, pytest.approx(100.0)]


def test_the_middle_of_several():
    paces = [[[0, 0.0], [9, seconds]] for seconds in (3.0, 1.0, 2.0)]
    assert middle(paces)[-1] == [9, 2.0]
    assert middle([]) == []

from __future__ import annotations

from itertools import pairwise

from stretto.speculate.pause import Pause


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

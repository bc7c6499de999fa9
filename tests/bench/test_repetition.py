from __future__ import annotations

import pytest

from stretto.bench.repetition import repeated_share

ONCE = list(range(8))


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0.0),
        (ONCE, 0.0),
        (list(range(100)), 0.0),
        (ONCE + ONCE, 1.0),
        ([*ONCE, 50, *ONCE], 16 / 17),  # what stands between does not repeat
        ([90, 91, *ONCE, 50, 51, *ONCE], 16 / 20),
        ([*ONCE[:7], 50, *ONCE[:7]], 0.0),  # seven are too few
        ([1] * 8, 0.0),  # a single run of eight
        ([1] * 9, 1.0),  # two, overlapping
        (list(range(9)) + list(range(9)), 1.0),  # overlapping runs are counted once
        ([*ONCE, 50, *ONCE, 51, *ONCE], 24 / 26),
    ],
)
def test_share_by_hand(tokens: list[int], share: float):
    assert repeated_share(tokens) == pytest.approx(share)


def test_shorter_runs():
    assert repeated_share([1, 2, 3, 1, 2, 4], run=2) == pytest.approx(4 / 6)

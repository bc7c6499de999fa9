from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest

from laws.branching import SAMPLED, Draft, chain, enumerated, vector
from stretto.errors import InvalidRequest
from stretto.speculate.acceptors.lossy import Lossy

P, Q = vector(5, 3, 2), vector(2, 5, 3)
ONE = Draft(partial(chain, [SAMPLED]))


@pytest.mark.parametrize("alpha", [0, Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)])
def test_it_accepts_a_factor_more(alpha):
    accepted = enumerated(Lossy(alpha), ONE, lambda path: P, lambda path: Q)[1]
    assert accepted == sum(min(q, p / (1 - alpha)) for p, q in zip(P, Q, strict=True))


def test_points_are_held_against_their_probability():
    draft = Draft(lambda chance, q: chain([SAMPLED], chance, lambda path: vector(0, 0, 1)))
    assert enumerated(Lossy(Fraction(1, 2)), draft, lambda path: P, lambda path: Q)[1] == Fraction(2, 5)


@pytest.mark.parametrize(
    ("alpha", "told"), [(-0.1, "alpha < 1"), (1.0, "alpha < 1"), (float("nan"), "a finite number")]
)
def test_settings_are_checked(alpha, told):
    with pytest.raises(InvalidRequest, match=told):
        Lossy(alpha)

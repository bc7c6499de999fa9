"""Draws on a canvas are those of the package's noise, and draws of orders have lines of their own."""

from __future__ import annotations

import numpy as np

from stretto import noise
from stretto.diffuse.chance import Use, gumbel, token_keys, uniform
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline

POSITIONS = np.array([0, 3, 7, 4000])


def rule(seed: int = 5, stream: int = 2) -> Rule:
    return Rule(Pipeline([]), seed, stream)


def test_the_first_draw_of_a_token_is_that_of_plain_decoding() -> None:
    for seed, stream in ((0, 0), (5, 2), (2**64 - 1, 2**63)):
        keys = token_keys(rule(seed, stream), POSITIONS, 0)
        assert keys.tolist() == [noise.key(seed, stream, position) for position in POSITIONS.tolist()]


def test_later_draws_of_a_token_are_other_draws() -> None:
    keys = {step: tuple(token_keys(rule(), POSITIONS, step).tolist()) for step in range(5)}
    assert len({key for each in keys.values() for key in each}) == 5 * len(POSITIONS)
    assert token_keys(rule(), POSITIONS[1:2], 3).tolist() == list(keys[3][1:2])  # whoever else is asked for


def test_draws_follow_the_definition_and_are_even() -> None:
    draws = uniform(rule(), POSITIONS, 6, Use.COIN)
    index = -1 - (6 * len(Use) + Use.COIN)
    expected = [noise.uniform_one(noise.key(5, 2, position), index % 2**64) for position in POSITIONS.tolist()]
    assert draws.tolist() == expected
    many = uniform(rule(), np.arange(4000), 0, Use.RANK)
    assert abs(many.mean() - 0.5) < 0.02 and abs(many.var() - 1 / 12) < 0.005
    np.testing.assert_allclose(gumbel(rule(), POSITIONS, 6, Use.COIN), [-np.log(-np.log(each)) for each in expected])


def test_uses_seeds_streams_and_steps_do_not_meet() -> None:
    lines = [
        uniform(rule(seed, stream), POSITIONS, step, use).tolist()
        for seed in (1, 2)
        for stream in (0, 1)
        for step in (0, 1)
        for use in Use
    ]
    assert len({each for line in lines for each in line}) == len(lines) * len(POSITIONS)

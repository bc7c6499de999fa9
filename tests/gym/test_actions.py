"""Actions as tokens: bins, paths, and the distance from them."""

from __future__ import annotations

import numpy as np
import pytest

from stretto.errors import InvalidRequest
from stretto.gym.actions import BINS, CHUNK, JOINTS, STEPS, STRIDE, Bins, Paths


def test_bins_lie_between_the_quantiles_and_give_their_middles_back() -> None:
    values = np.stack([np.arange(101.0), -10 * np.arange(101.0)], 1)  # quantiles 1 … 99 and −990 … −10
    bins = Bins.fitted(values, 49)
    assert bins.low.tolist() == pytest.approx([1, -990]) and bins.high.tolist() == pytest.approx([99, -10])
    assert bins.tokens(np.array([[1.0, -990.0], [2.9, -970.1], [3.1, -969.9]])).tolist() == [[0, 0], [0, 0], [1, 1]]
    assert bins.tokens(np.array([[-7.0, 0.0], [1e9, -1e9]])).tolist() == [[0, 48], [48, 0]]  # clipped
    assert bins.values([[0, 48]]).tolist() == [pytest.approx([2.0, -20.0])]
    everywhere = np.arange(49)[:, None].repeat(2, 1)
    assert np.array_equal(bins.tokens(bins.values(everywhere)), everywhere)


def test_bins_need_width() -> None:
    with pytest.raises(InvalidRequest, match="no width"):
        Bins.fitted(np.ones((5, 2)))
    with pytest.raises(InvalidRequest, match="0 bins"):
        Bins.fitted(np.arange(10.0)[:, None], 0)


def test_rounding_to_bins_costs_a_twelfth_of_their_width_squared() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (20_000, 1))
    bins = Bins.fitted(values)
    inside = (values > bins.low) & (values < bins.high)
    apart = ((bins.values(bins.tokens(values)) - values) ** 2)[inside].mean()
    assert apart == pytest.approx(((bins.high - bins.low) / BINS) ** 2 / 12, rel=0.05)


def test_paths_are_sums_of_two_sinusoids_and_closed() -> None:
    paths, goals = Paths(3, seed=4), np.array([0, 1, 2])
    places = np.array([0.1, 2.0, 5.0])
    joints = paths.at(goals, places, 4)
    assert joints.shape == (3, 4, JOINTS)
    assert np.allclose(joints, paths.at(goals, places + 2 * np.pi, 4))
    assert np.allclose(joints[:, 1:], paths.at(goals, places + STRIDE, 3))
    assert np.array_equal(joints, Paths(3, seed=4).at(goals, places, 4))
    assert not np.allclose(joints, Paths(3, seed=5).at(goals, places, 4))
    whole = np.stack([paths.at(goals, np.full(3, place))[:, 0] for place in np.arange(32) * 2 * np.pi / 32])
    waves = np.abs(np.fft.rfft(whole, axis=0)).max((1, 2))
    assert (waves[[1, 2]] > 1).all() and np.delete(waves, [1, 2]).max() < 1e-9


def test_chunks_go_on_from_where_the_joints_are() -> None:
    paths = Paths()
    questions, answers = paths.drawn(np.random.default_rng(0), 500)
    assert questions.shape == (500, 1 + JOINTS) and answers.shape == (500, CHUNK)
    assert set(questions[:, 0]) == {0, 1, 2, 3}
    joints = np.concatenate([questions[:, 1:], answers], 1).reshape(500, 1 + STEPS, JOINTS)
    jumps = np.abs(np.diff(paths.bins.values(joints), axis=1))
    widths = (paths.bins.high - paths.bins.low) / BINS
    assert (jumps < STRIDE * (1 + 1) + widths).all()  # both waves reach 1 at most, the second at twice the pace, halved
    again = paths.drawn(np.random.default_rng(0), 500)
    assert np.array_equal(again[0], questions) and np.array_equal(again[1], answers)


def test_the_error_is_in_what_the_bins_stand_for() -> None:
    paths = Paths()
    _, wanted = paths.drawn(np.random.default_rng(0), 3)
    other = wanted.copy()
    other[1, :JOINTS] += np.where(other[1, :JOINTS] < BINS - 1, 1, -1)  # a bin off in one step of eight
    widths = (paths.bins.high - paths.bins.low) / BINS
    assert paths.error(other, wanted).tolist() == pytest.approx([0, (widths**2).mean() / STEPS, 0])

"""Learn2PD's order: what its filter says is final is filled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffuse.canvases import answer, filled_per_step
from diffuse.filters import filter_file, random_filter
from stretto.diffuse.canvas import Span
from stretto.diffuse.filter import Filter, features
from stretto.diffuse.orders.learned import Learned
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MODEL = MaskedTable.random_masked(6, 3, Masking(5), sharpness=2.5)
SETTINGS = {"max_new_tokens": 10, "end_tokens": ()}


def saying(score: float, folder: Path, width: int = 4) -> Path:
    """A filter that has one score for everything."""
    zero = np.zeros((width, width))
    path = folder / f"{score}.npz"
    Filter(zero, np.zeros(width), zero, np.full(width, score)).save(path)
    return path


def test_a_filter_of_the_published_width_has_2112_numbers() -> None:
    judge = random_filter(32)
    assert sum(part.size for part in (judge.inner, judge.inner_bias, judge.outer, judge.outer_bias)) == 2112


def test_a_filter_is_its_network_and_reads_back_as_it_was(tmp_path: Path) -> None:
    judge = random_filter(5)
    network = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)).double()
    for layer, weight, bias in ((0, judge.inner, judge.inner_bias), (2, judge.outer, judge.outer_bias)):
        network[layer].load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    read = np.random.default_rng(1).random((7, 5))
    expected = network(torch.from_numpy(read)).sigmoid().detach().numpy()
    np.testing.assert_allclose(judge(read), expected)
    judge.save(tmp_path / "filter.npz")
    np.testing.assert_array_equal(Filter.load(tmp_path / "filter.npz")(read), judge(read))


def test_positions_that_are_known_read_as_certain() -> None:
    read = features(Span(4, 7), np.array([4, 6]), np.array([0.3, 0.7]), 5)
    assert read.tolist() == [0.3, 1.0, 0.7, 1.0, 1.0]


def test_a_filter_that_takes_everything_for_final_fills_a_block_a_step(tmp_path: Path) -> None:
    everything = answer(MODEL, [0, 1], f"learned({saying(1e9, tmp_path)})+blocks(4)", **SETTINGS)
    assert filled_per_step(everything) == [4, 4, 2]
    nothing = answer(MODEL, [0, 1], f"learned({saying(-1e9, tmp_path)})+blocks(4)", **SETTINGS)
    plain = answer(MODEL, [0, 1], "low-confidence+blocks(4)", **SETTINGS)
    assert [step.positions for step in nothing.steps] == [step.positions for step in plain.steps]
    assert nothing.tokens == plain.tokens


def test_each_position_is_judged_by_its_own_output(tmp_path: Path) -> None:
    judge = Filter(np.zeros((4, 4)), np.zeros(4), np.zeros((4, 4)), np.array([9.0, -9.0, 9.0, -9.0]))
    judge.save(tmp_path / "filter.npz")
    flat = MaskedTable(4, lambda position, seen: [0.0] * 4, Masking(3))
    found = answer(flat, [0], f"learned({tmp_path / 'filter.npz'})+blocks(4)", max_new_tokens=8, end_tokens=())
    assert [step.positions for step in found.steps] == [[1, 3], [2], [4], [5, 7], [6], [8]]


def test_beside_a_checkpoint_it_is_found_without_a_name(tmp_path: Path) -> None:
    model = MaskedTable(6, MODEL.says, Masking(5))
    model.name = str(tmp_path)
    with pytest.raises(InvalidRequest, match="no filter") as caught:
        answer(model, [0, 1], "learned+blocks(4)", **SETTINGS)
    assert "stretto train filter" in caught.value.hint
    with pytest.raises(InvalidRequest, match="no filter"):
        answer(model, [0, 1], f"learned({tmp_path / 'absent.npz'})+blocks(4)", **SETTINGS)
    saying(1e9, tmp_path).rename(tmp_path / "filter.npz")
    assert filled_per_step(answer(model, [0, 1], "learned+blocks(4)", **SETTINGS)) == [4, 4, 2]


def test_what_is_no_filter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", inner=np.zeros((2, 2)))
    odd = random_filter(3)
    replace(odd, outer=np.zeros((3, 2))).save(tmp_path / "odd.npz")
    for name in ("torn", "other", "odd"):
        with pytest.raises(InvalidRequest) as caught:
            Filter.load(tmp_path / f"{name}.npz")
        assert caught.value.hint


def test_windows_wider_than_the_filter_are_refused() -> None:
    with pytest.raises(Unsupported, match="windows of 4 positions") as caught:
        answer(MODEL, [0, 1], f"learned({filter_file(4)})+blocks(5)", **SETTINGS)
    assert "blocks(4)" in caught.value.hint
    with pytest.raises(InvalidRequest):
        Learned(least=-1.0)

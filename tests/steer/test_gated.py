"""Gates of segments: the worked numbers, gates that are all open, and a segment that is not there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stretto.errors import InvalidRequest, ModelError
from stretto.laws.inside import engine
from stretto.steer.gated import Gated, Gates
from stretto.steer.nodes import Nodes
from stretto.steer.taps import Taps

SCORES = torch.tensor([[2.0, 0.0, 1.0, 3.0]], dtype=torch.float64)
ROW = torch.tensor([[0.5, -2.0]])


def gates(*open_: float, weights: list[list[float]] | None = None) -> Gates:
    """Two keywords, a word of the schema, one of the query before."""
    bias = [math.log(each / (1 - each)) if each < 1 else 100.0 for each in open_]
    return Gates({"segments": [0, 0, 1, 2], "weights": weights or [[0.0, 0.0]] * 3, "bias": bias})


def steered(step: Gated, logits: Tensor = SCORES) -> Tensor:
    return step(logits, Nodes((), logits, Taps(hidden={1: ROW})))


def test_the_worked_numbers() -> None:
    found = steered(Gated(gates(0.5, 1.0, 0.2), 1))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 1.0, 0.6]], dtype=torch.float64))
    odds = [round(float(p), 4) for p in found.softmax(-1)[0]]
    assert odds == [0.3291, 0.1211, 0.3291, 0.2206]


def test_gates_that_are_all_open_change_nothing_and_half_of_one_is_half() -> None:
    assert torch.equal(steered(Gated(gates(1.0, 1.0, 1.0), 1)), SCORES)
    half = torch.tensor([[1.5, 0.0, 1.0, 1.8]], dtype=torch.float64)
    torch.testing.assert_close(steered(Gated(gates(0.5, 1.0, 0.2), 1, 0.5)), half)


def test_gates_are_read_off_the_row_and_scale_scores_of_either_sign() -> None:
    step = Gated(gates(0.5, 0.5, 0.5, weights=[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 1)
    one, two = (1 / (1 + math.exp(-each)) for each in (1.0, -2.0))
    logits = torch.tensor([[-2.0, 1.0, -1.0, -math.inf]], dtype=torch.float64)
    expected = torch.tensor([[-2 * one, one, -two, -math.inf]], dtype=torch.float64)
    torch.testing.assert_close(steered(step, logits), expected)
    shut = Gates({"segments": [0, 0, 0, 0], "weights": [[0.0, 0.0]], "bias": [-1e30]})
    assert steered(Gated(shut, 1), logits)[0].tolist() == [0.0, 0.0, 0.0, -math.inf]


def test_a_segment_that_is_not_there_is_dropped() -> None:
    found = steered(Gated(gates(0.5, 1.0, 0.2), 1, without=(2,)))
    assert found[0].tolist()[3] == -math.inf and found[0, 0] == pytest.approx(1.0)


def test_what_fits_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="fit together"):
        Gates({"segments": [0, 3], "weights": [[0.0]] * 2, "bias": [0.0] * 2})
    for wrong in ({"by": 1.5}, {"layer": -1}, {"without": (3,)}, {"without": (0, 1, 2)}, {"gates": "random:x"}):
        with pytest.raises(InvalidRequest, match=r"gated|seed"):
            Gated(**{"gates": "random:1", "layer": 1, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no file"):
        Gated(str(tmp_path / "none.safetensors"), 1)
    gates(0.5, 1.0, 0.2).write(tmp_path / "gates.safetensors")
    step = Gated(str(tmp_path / "gates.safetensors"), 1)
    assert step == Gated(str(tmp_path / "gates.safetensors"), 1) and steered(step)[0, 2] == pytest.approx(1.0)
    with pytest.raises(InvalidRequest, match="another model"):
        engine("fast").generate([5, 9], "plain", steers=[step], max_new_tokens=2, end_tokens=())

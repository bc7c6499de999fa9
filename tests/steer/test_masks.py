"""Bias, bans and allowed tokens."""

from __future__ import annotations

import pytest
import torch

from stretto.errors import InvalidRequest
from stretto.steer.allow import Allow
from stretto.steer.ban import Ban, MinTokens
from stretto.steer.bias import Bias
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path

LOGITS = torch.tensor([[2.0, 1.0, -1.0, 0.0]] * 2)
INF = torch.inf


def paths() -> list[Path]:
    """Two output tokens committed; the second node has one drafted on top."""
    history = History([3, 3])
    history.extend([0, 0])
    return [Path(history), Path(history, (1,))]


def test_bias_adds() -> None:
    assert Bias(((3, 2.5), (0, -1.0)))(LOGITS, Nodes(paths(), LOGITS)).tolist() == [[1.0, 1.0, -1.0, 2.5]] * 2


def test_ban_removes() -> None:
    assert Ban([0, 3])(LOGITS, Nodes(paths(), LOGITS)).tolist() == [[-INF, 1.0, -1.0, -INF]] * 2


def test_allow_removes_the_rest() -> None:
    assert Allow([2, 0])(LOGITS, Nodes(paths(), LOGITS)).tolist() == [[2.0, -INF, -1.0, -INF]] * 2


def test_min_tokens_counts_drafted_output_and_no_prompt() -> None:
    steered = MinTokens({0, 2}, 3)(LOGITS, Nodes(paths(), LOGITS))
    assert steered.tolist() == [[-INF, 1.0, -INF, 0.0], LOGITS[1].tolist()]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bias(((0, 101.0),)),
        lambda: Bias(((0, float("nan")),)),
        lambda: Bias(((0, 1.0), (0, 2.0))),
        lambda: Bias(((-1, 1.0),)),
        lambda: Ban([-1]),
        lambda: Ban(["end"]),  # type: ignore[list-item]
        lambda: Allow([]),
        lambda: Allow([1.5]),  # type: ignore[list-item]
        lambda: MinTokens([0], -1),
    ],
)
def test_settings_out_of_range_are_refused_with_a_hint(make: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        make()  # type: ignore[operator]
    assert refusal.value.hint

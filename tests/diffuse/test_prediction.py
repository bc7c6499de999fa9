"""Parts of a prediction."""

from __future__ import annotations

import numpy as np
import torch

from diffuse.canvases import GREEDY
from stretto.diffuse.prediction import Prediction, StepPredictions


def test_a_part_holds_the_asked_positions_that_there_are_in_their_own_order() -> None:
    chance = np.random.default_rng(0)
    whole = StepPredictions(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), GREEDY, None)
    for _ in range(200):
        positions = np.flatnonzero(chance.random(12) < 0.5)
        found = Prediction(whole, positions, positions, positions + 1.0)  # each position stands in its own line
        asked = chance.permutation(15)[: chance.integers(0, 15)]
        part = found.at(asked)
        assert part.positions.tolist() == sorted(set(positions.tolist()) & set(asked.tolist()))
        assert part.tokens.tolist() == whole.chosen[part.positions].tolist()
        assert torch.equal(part.logits, whole.logits[part.positions])
        np.testing.assert_array_equal(
            part.confidence("raw"), whole.figure("raw")[part.positions] * (part.positions + 1)
        )

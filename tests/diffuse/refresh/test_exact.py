"""Exact refreshes: at each step the model speaks of the canvas as it stands, and of nothing else."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from diffuse.canvases import GREEDY, answer, context
from laws.test_diffusion import WORLDS, fits, loop_of, named, short
from stretto import method
from stretto.diffuse.adjustments.contract import Adjustment, AdjustmentState
from stretto.diffuse.canvas import Canvas, Span
from stretto.diffuse.orders.abilities import Rechecking
from stretto.diffuse.prediction import Prediction
from stretto.diffuse.refresh.block_cache import BlockCache
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule

BLOCK_CAUSAL = [world for world in WORLDS if "block" in world]
BACK = ["weld(0.5,reach=2,below=1.0)", "weld(0.3,reach=1,below=1.0)"]


@dataclass(frozen=True, slots=True)
class Witness(Adjustment):
    """Compares what is predicted with what the table says of the whole canvas."""

    model: MaskedTable
    seen: list[Span]

    name: ClassVar[str] = "witness"

    def open(self, canvas: Canvas, context: Any) -> AdjustmentState:
        return WitnessState(self)


class WitnessState(AdjustmentState):
    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    def fork(self) -> WitnessState:
        return self

    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        masking = canvas.masking
        expected = []
        for position in prediction.positions.tolist():
            source = masking.source(position)
            end = canvas.scope(Span(source, source + 1))
            canvas_there = dict(enumerate(canvas.ids[:end].tolist()))
            expected.append(self.witness.model.says(source + masking.shift, canvas_there))
        wanted = torch.tensor(expected, dtype=torch.float64)
        wanted[:, masking.mask] = -torch.inf
        assert torch.equal(prediction.logits.double(), wanted), f"step {canvas.step}: it saw something else"
        self.witness.seen.append(window)
        return prediction


@pytest.mark.parametrize("world", BLOCK_CAUSAL)
@pytest.mark.parametrize("order", [text for text in named("order") if method.parse(text).order.revises], ids=short)
def test_what_is_read_is_the_canvas(order: str, world: str) -> None:
    """Of orders that take back what was filled, so that windows move back."""
    model = WORLDS[world]
    for refresh, stop in itertools.product(("recompute", "block-cache"), ("fill", "early-rejection")):
        text = f"{order}+{refresh}+{stop}"
        if not fits(text, model) or isinstance(
            method.parse(order).order, Rechecking
        ):  # those speak of other canvases too
            continue
        seen: list[Span] = []
        loop, _ = loop_of(replace(method.parse(text), adjustment=Witness(model, seen)), model, temperature=0.8, seed=5)
        while loop.rows:
            loop.step()
        assert seen


@pytest.mark.parametrize("world", BLOCK_CAUSAL)
@pytest.mark.parametrize("order", BACK)
def test_a_window_that_moves_back_leaves_nothing_behind(order: str, world: str) -> None:
    """The block cache and no cache are the same, step for step, although later blocks were computed already."""
    model, back = WORLDS[world], 0
    for seed in range(6):
        settings = {"max_new_tokens": 15, "end_tokens": (), "temperature": 0.9, "seed": seed}
        seen: list[Span] = []
        for refresh in ("recompute", "block-cache"):
            witnessed = replace(method.parse(f"{order}+{refresh}"), adjustment=Witness(model, seen))
            answer(model, [0, 2, 3], witnessed, **settings)
        back += sum(later.start < earlier.start for earlier, later in itertools.pairwise(seen))
    assert back > 6, "no window moved back"  # beside one between two answers


def test_what_was_dropped_is_computed_again() -> None:
    """Where a window moves back, and on again, although nothing was taken back."""
    canvas = Canvas(np.zeros(12, np.int64), Masking(9, block=4), 12, Rule(GREEDY, 0))
    refresh = BlockCache().open(canvas, context(WORLDS["block-causal"]))
    plans = [refresh.plan(canvas, Span(at, at + 4), np.arange(at, at + 4)) for at in (8, 0, 8)]
    assert [plan.rows.tolist() for plan in plans] == [[*range(12)], [], [*range(4, 12)]]
    assert [plan.forget.tolist() for plan in plans] == [[], [*range(4, 12)], []]

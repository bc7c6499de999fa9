"""Small worlds for canvases: an engine over a table, orders asked by hand, and figures drawn from joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stretto import method as methods
from stretto.context import Context
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.orders.contract import Order
from stretto.diffuse.prediction import Prediction, StepPredictions
from stretto.engine import Engine
from stretto.generation import Generation
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Model
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

GREEDY = Pipeline([Temperature(0.0)])


def engine(model: Model) -> Engine:
    return Engine(model, clock=SimulatedClock())


def answer(model: Model, prompt: Any, method: Any, **settings: Any) -> Any:
    return engine(model).generate(prompt, method, **settings)


def context(model: Model) -> Context:
    return Context(model, SimulatedClock(), lambda name: model)


def blank(size: int, mask: int, seed: int = 0, **settings: Any) -> Canvas:
    """A canvas of masks alone."""
    return Canvas(np.full(size, mask), Masking(mask), size, Rule(GREEDY, seed), **settings)


def predict(canvas: Canvas, probabilities: Sequence[Sequence[float]], pipeline: Pipeline = GREEDY) -> Prediction:
    """What a model would predict that gives these probabilities [n, V] to the n open positions."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    positions = np.flatnonzero(canvas.open)
    return Prediction(StepPredictions(logits, pipeline, None), np.arange(len(positions)), positions)


def chosen(order: Order, probabilities: Sequence[Sequence[float]], **settings: Any) -> Delta:
    """What an order fills at the first step of a blank canvas, its only window."""
    canvas = blank(len(probabilities), len(probabilities[0]), **settings)
    window = Span(0, len(canvas))
    ordering = order.open(canvas, context(MaskedTable.random_masked(3, 0, Masking(2))))
    ordering.begin_window(canvas, window)
    return ordering.choose(canvas, predict(canvas, probabilities), window)


def by_confidence(confidences: Sequence[float], vocabulary: int = 2) -> list[list[float]]:
    """Distributions whose likeliest token, 0, has these probabilities; the rest is even."""
    return [[c, *[(1 - c) / (vocabulary - 1)] * (vocabulary - 1)] for c in confidences]


def filled_per_step(found: Generation) -> list[int]:
    return [len(step.positions) for step in found.steps]


def frequencies(model: Model, method: str, samples: int, length: int, **settings: Any) -> dict[tuple[int, ...], float]:
    """How often each answer comes, of so many samples."""
    settings = {"temperature": 1.0, "end_tokens": (), "seed": 11} | settings
    found = answer(model, [[0]], methods.parse(method), samples=samples, max_new_tokens=length, **settings)
    counts: dict[tuple[int, ...], float] = {}
    for each in found:
        counts[tuple(each.tokens)] = counts.get(tuple(each.tokens), 0) + 1 / samples
    return counts


def chi_square(found: dict[tuple[int, ...], float], joint: torch.Tensor, samples: int) -> tuple[float, int]:
    """The statistic of samples against a joint, and its degrees of freedom."""
    statistic, cells = 0.0, 0
    for cell in np.ndindex(*joint.shape):
        expected = float(joint[cell]) * samples
        if expected == 0:
            assert cell not in found
            continue
        statistic += (found.get(cell, 0.0) * samples - expected) ** 2 / expected
        cells += 1
    return statistic, cells - 1

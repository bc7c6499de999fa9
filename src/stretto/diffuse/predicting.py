"""From what rows need to what is predicted for them: evaluate, guide, and cut the logits into predictions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch

from ..steer.pipeline import Pipeline
from .chance import token_keys
from .evaluator import CanvasEvaluator
from .prediction import Prediction, StepPredictions
from .refresh.contract import RedoingState
from .row_state import RowEvaluation
from .views import CanvasView


def evaluate(evaluator: CanvasEvaluator, evaluations: Sequence[RowEvaluation]) -> None:
    """Find out what the model predicts in each of them, all in one forward; `outputs` and `prediction` are set."""
    views = [
        CanvasView(memory, ids, each.needs.computed, each.needs.window, each.needs.known, each.needs.rechecked)
        for each in evaluations
        for memory, ids in zip(each.memories, each.needs.canvases, strict=True)
    ]
    logits, found = evaluator.evaluate(views)
    outputs = iter(found)
    for each in evaluations:
        each.outputs = [next(outputs) for _ in each.memories]
    logits = _redone(evaluator, evaluations, views, logits)
    if any(each.state.method.guidance is not None for each in evaluations):
        logits = torch.cat([_guided(each, logits) for each in evaluations])
    _predict(evaluations, logits)


def _redone(
    evaluator: CanvasEvaluator,
    evaluations: Sequence[RowEvaluation],
    views: Sequence[CanvasView],
    logits: torch.Tensor,
) -> torch.Tensor:
    """Compute once more what a refresh wants to have anew, now that it has seen something: logits [N, V]."""
    parts, at, changed = [], 0, False
    for each in evaluations:
        layer, refresh = None, each.state.refresh
        if each.needs.plan.keep:
            assert isinstance(refresh, RedoingState), "hidden rows are kept for a refresh that may redo layers"
            layer = refresh.redo(each.state.canvas, each.outputs[0].seen)
        outputs = list(each.outputs)
        for number, output in enumerate(each.outputs):
            part = logits[output.start : output.start + len(each.needs.known)]
            if layer is not None:
                part, outputs[number] = evaluator.redo(views[at + number], output, layer)
                changed = True
            parts.append(part)
        each.outputs = outputs
        at += len(outputs)
    return torch.cat(parts) if changed else logits


def _guided(evaluation: RowEvaluation, logits: torch.Tensor) -> torch.Tensor:
    """The logits [n, V] of one row's known positions, out of those of all canvases, under its guidance."""
    parts = [logits[each.start : each.start + len(evaluation.needs.known)] for each in evaluation.outputs]
    guidance = evaluation.state.method.guidance
    return parts[0] if guidance is None else guidance.guide(*parts)


def _predict(evaluations: Sequence[RowEvaluation], logits: torch.Tensor) -> None:
    """Cut the logits [N, V] of all known positions into predictions; rows of one pipeline share its work."""
    ends = list(accumulate(len(each.needs.known) for each in evaluations))
    kin: dict[Pipeline, list[int]] = {}
    for at, each in enumerate(evaluations):
        kin.setdefault(each.state.row.rule.pipeline, []).append(at)
    for pipeline, places in kin.items():
        own = [evaluations[at] for at in places]
        part = logits
        if len(kin) > 1:
            part = torch.cat([logits[ends[at] - len(evaluations[at].needs.known) : ends[at]] for at in places])
        keys = None
        if not pipeline.greedy:
            keys = np.concatenate([token_keys(each.state.row.rule, each.needs.known, each.needs.draw) for each in own])
        whole = StepPredictions(part, pipeline, keys)
        start = 0
        for each in own:
            rows = np.arange(start, start + len(each.needs.known))
            each.prediction = Prediction(whole, rows, each.needs.known)
            start += len(rows)

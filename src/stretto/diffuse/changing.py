"""Changes a row's canvas as its parts say, within what no part may break."""

from __future__ import annotations

import numpy as np

from .canvas import OPEN, Delta, Span
from .prediction import Prediction
from .row_state import RowState


def enforce(state: RowState, delta: Delta, own: Prediction, window: Span) -> None:
    """What no order may do; `own` is what it chose from. Its spare steps pay where it gets less far than one fill."""
    order = state.method.order
    assert order.revises or not (delta.remask or delta.revise), f"{order.name} remasks, and does not declare it"
    for position in delta.touched:
        back = order.revises and position not in delta.commit
        inside = window.start <= position < window.end
        assert inside or back, f"{order.name} changes position {position}, outside of {tuple(window)}"
    computed = set(own.positions.tolist())
    assert computed >= {*delta.commit, *delta.revise}, f"{order.name} fills positions that were not computed"
    state.spare -= max(0, 1 - len(delta.commit) + len(delta.remask))
    assert state.spare >= 0, f"{order.name} gets nowhere, or takes more steps than it declares"


def apply(state: RowState, delta: Delta, prediction: Prediction, chosen_from: Prediction, vocabulary: int) -> None:
    """Change the canvas; given tokens never change. What is reported as the model's own is the prediction's."""
    canvas, row = state.canvas, state.row
    for position, token in (*delta.commit.items(), *delta.revise.items()):
        before = canvas.filled[position]
        assert before == OPEN if position in delta.commit else before >= 0, f"position {position} is not free"
        assert token != canvas.masking.mask and 0 <= token < vocabulary, f"{token} fills no position"
    for position in delta.remask:
        assert canvas.filled[position] >= 0, f"position {position} holds nothing to take back"
    canvas.change(delta)
    changes = {**delta.commit, **delta.revise}
    if not changes:
        return
    known = prediction.at(np.fromiter(changes, np.int64))
    tokens = canvas.ids[known.positions]
    agrees = bool((known.tokens == tokens).all())
    canvas.sure[known.positions] = known.confidence("raw") if agrees else known.probability(tokens)
    if row.log_probabilities is not None:
        reports = known.report(tokens.tolist(), row.log_probabilities, chosen_from.at(known.positions))
        state.reports.update(zip(known.positions.tolist(), reports, strict=True))

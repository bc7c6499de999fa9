"""Several tokens for one position: the next evaluation tries them side by side, and the order says where it is better.

A step fills the position with the first of them. With the next evaluation of the row stand those of the canvases that
have the others there; what is kept is one canvas with what was evaluated for it, so no round is spent on the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..row import reported
from .canvas import Delta
from .orders.abilities import Branching
from .prediction import Prediction
from .row_state import Alternative, RowEvaluation, RowNeeds, RowState


def offered(state: RowState, delta: Delta, prediction: Prediction, chosen_from: Prediction) -> tuple[Alternative, ...]:
    """The other tokens of a step, with what is reported of them; `chosen_from` is what the order saw."""
    found: list[Alternative] = []
    for position, tokens in delta.others.items():
        assert position in delta.commit, f"other tokens are named for position {position}, which is not filled"
        if position >= len(state.canvas):
            continue  # cut off by now
        at = np.array([position])
        known, own, most = prediction.at(at), chosen_from.at(at), state.row.log_probabilities
        for token in tokens:
            report = None if most is None else reported([token], known.logits, own.steered, most)[0]
            found.append(Alternative(position, token, float(known.probability(np.array([token]))[0]), report))
    return tuple(found)


def variants(state: RowState, needs: RowNeeds) -> list[RowNeeds]:
    """What a row needs now, once for each other token that the last step named."""
    found = []
    for other in state.others:
        canvases = [ids.copy() for ids in needs.canvases]
        for ids in canvases:
            ids[other.position] = other.token
        found.append(replace(needs, canvases=canvases))
    return found


def settled(state: RowState, chain: Sequence[RowEvaluation]) -> RowEvaluation:
    """The evaluation whose canvas the order prefers, of equals the first; the row then holds that token."""
    others: list[Alternative | None] = [None, *state.others]
    worth = [_worth(state, evaluation, other) for evaluation, other in zip(chain, others, strict=True)]
    best = worth.index(max(worth))
    other, state.others = others[best], ()
    if other is not None:
        _put(state, other)
        _amend(state, other)
    return chain[best]


def _worth(state: RowState, evaluation: RowEvaluation, other: Alternative | None) -> float:
    """What the order thinks of one canvas, asked on copies of everything."""
    twin = state.fork(state.row, [])
    if other is not None:
        _put(twin, other)
    assert twin.window is not None and evaluation.prediction is not None
    order = twin.method.order
    assert isinstance(order, Branching), f"{order.name!r} names other tokens, and does not declare it"
    own = twin.adjusted(twin.drawn(evaluation.prediction, evaluation.needs.draw).at(twin.wanted(twin.window)))
    return order.worth(twin.canvas, own, twin.window)


def _put(state: RowState, other: Alternative) -> None:
    """Fill a position with another token than the last step did."""
    state.canvas.ids[other.position], state.canvas.sure[other.position] = other.token, other.sure
    if other.report is not None:
        state.reports[other.position] = other.report


def _amend(state: RowState, other: Alternative) -> None:
    """Let the trace of the last step say what it came to fill."""
    steps = state.row.steps
    if steps and other.position in steps[-1].positions:
        last, at = steps[-1], steps[-1].positions.index(other.position)
        committed, confidence = last.committed.copy(), last.confidence.copy()
        committed[at], confidence[at] = other.token, other.sure
        steps[-1] = replace(last, committed=committed, confidence=confidence)

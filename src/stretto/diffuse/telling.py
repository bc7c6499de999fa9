"""What a row is told of its canvas: the tokens that are final, their log-probabilities, counters and trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..generation import LogProbability, Step
from ..models.contract import Model
from .canvas import GIVEN, Canvas, Delta
from .row_state import RowEvaluation, RowState


def hand_out(state: RowState, done: bool) -> list[int]:
    """Give the row what is final: all that stands before the first mask, unless the order may take it back."""
    row, canvas = state.row, state.canvas
    ready = canvas.ready
    if not done and state.method.order.revises:
        ready = state.handed
    elif not done:  # what the next evaluation may fill otherwise is not final
        ready = min([ready, *(other.position for other in state.others)])
    tokens = canvas.ids[state.handed : ready].tolist()
    if not done:  # a stop decides whether an end token ends the row at once
        tokens = tokens[: next((at for at, token in enumerate(tokens) if token in canvas.ends), len(tokens))]
    kept = row.advance(tokens) if tokens else []
    if row.log_probabilities is not None:
        row.reported.extend(_report(state, position) for position in range(state.handed, state.handed + len(kept)))
    state.handed += len(kept)
    if done and not row.finish:
        assert state.handed == len(canvas), "a row ends with masks before its end"
        row.finish = "length"
    return kept


def _report(state: RowState, position: int) -> LogProbability:
    """What was certain when the position was filled; of a given token that it was certain."""
    token = int(state.canvas.ids[position])
    if state.canvas.filled[position] == GIVEN:
        return LogProbability(token, 0.0, 0.0)
    return state.reports.get(position) or LogProbability(token, float("nan"), float("nan"))


def traced(canvas: Canvas, delta: Delta) -> Step:
    """What a step did, for the trace."""
    positions = sorted(delta.commit)
    return Step(
        position=positions[0] if positions else canvas.ready,
        committed=[delta.commit[position] for position in positions],
        sources=[""] * len(positions),
        positions=positions,
        remasked=sorted(delta.remask),
        revised=sorted(delta.revise),
        confidence=[float(canvas.sure[at]) if at < len(canvas) else float("nan") for at in positions],
    )


def settle(state: RowState, chain: Sequence[RowEvaluation], steps: list[Step], model: Model) -> None:
    """Close a round in the row's book: counters, and a step for each that was taken; the first bears the times."""
    counters = replace(state.row.counters)
    outputs = [output for evaluation in chain for output in evaluation.outputs]
    computed = sum(output.computed for output in outputs)
    counters.rounds += 1
    counters.row_forwards += len(outputs) + sum(output.redone > 0 for output in outputs)
    counters.token_forwards += computed + sum(output.redone for output in outputs)
    counters.layer_token_forwards += model.layers * computed
    counters.layer_token_forwards += sum(output.layers * output.redone for output in outputs)
    counters.drafter_calls += state.guesser is not None
    counters.drafted += len(chain) - 1 if state.guesser is not None else 0
    counters.accepted += len(steps) - 1
    counters.seconds += steps[0].seconds
    counters.draft_seconds += steps[0].draft_seconds
    state.row.settle(steps, counters)

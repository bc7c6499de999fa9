"""The evaluations that a row will need after the next one, if the model keeps to what it predicted last."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import MISSING, Field, fields
from functools import partial

import numpy as np

from .canvas import Canvas, Delta, none
from .chance import token_keys
from .guessers.contract import GuessedRow
from .prediction import Positions, Prediction
from .refresh.contract import Plan
from .row_state import RowNeeds, RowState, alike
from .views import sources


def ahead(state: RowState, first: RowNeeds) -> Iterator[RowNeeds]:
    """What a row will need after `first`, as its guesser guesses.

    It is found by taking the steps: on copies of everything, with a prediction that is one step old at least. Other
    guesses of a step stand before it, so that what is reached earlier always comes earlier.
    """
    guesser, said = state.guesser, state.said
    if guesser is None or said is None:
        return
    assert state.method.guesser is not None
    twin = state.fork(state.row, [])
    reach, steps = Reach(first, twin.canvas, state.method.refresh.exact), 0
    while twin.window is not None:
        wanted = twin.wanted(twin.window)
        if not np.isin(wanted, said.positions).all():
            return
        prediction = said.at(wanted).redrawn(token_keys(state.row.rule, wanted, twin.canvas.window_step))
        leaves = [twin.fork(state.row, []) for _ in range(state.method.guesser.width - 1)]
        delta = guesser.next(GuessedRow(twin.canvas, twin.window, partial(_chosen, twin, prediction), steps))
        if delta is None:
            return
        taken = set(delta.touched)
        for leaf in leaves:  # other guesses of this step; nothing is guessed beyond them
            rest = prediction.at(np.setdiff1d(wanted, list(taken)))
            if not len(rest.positions):
                break
            other = _chosen(leaf, rest)
            if not other.touched:
                break
            taken.update(other.touched)
            needs = _after(leaf, other, prediction)
            if needs is not None and copy(reach).covers(needs):
                yield needs
        needs = _after(twin, delta, prediction)
        if needs is None or not reach.covers(needs):
            return
        steps += 1
        yield needs


class Reach:
    """How far ahead evaluations are independent of each other: which rows a step reads that an earlier one computes.

    All canvases of a round are evaluated from the same keys and values. So each must compute itself what the steps
    before it compute; where an exact refresh does not, it may, as the outcome is the same.
    """

    def __init__(self, first: RowNeeds, canvas: Canvas, exact: bool) -> None:
        self.masking = canvas.masking
        self.exact = exact
        self.rows = none()  # computed by the steps so far
        self.forgotten = none()  # dropped by them
        self.open = _simple(first.plan)
        self._pass(first)

    def covers(self, needs: RowNeeds) -> bool:
        """Whether this evaluation needs none of those before it; settles what it computes."""
        if not self.open or not _simple(needs.plan):
            return False
        size = len(needs.canvases[0])  # a stop may have cut the canvas
        missing = np.setdiff1d(self.rows[self.rows < size], self._of(needs))
        if len(missing) and not (self.exact and missing[-1] < self._of(needs)[0]):
            return False  # exact is what stands before; what stands behind may be an older state
        rows = np.union1d(needs.plan.rows, missing)
        self._pass(needs)
        forget = np.setdiff1d(self.forgotten[self.forgotten < size], np.union1d(rows, self._of(needs)))
        needs.computed = Plan(rows, forget)
        return True

    def _of(self, needs: RowNeeds) -> Positions:
        predicting = np.union1d(sources(self.masking, needs.wanted), needs.rechecked)
        return np.union1d(needs.plan.rows, predicting)

    def _pass(self, needs: RowNeeds) -> None:
        self.rows = np.union1d(self.rows, self._of(needs))
        self.forgotten = np.union1d(self.forgotten, needs.plan.forget)


def _after(twin: RowState, delta: Delta, prediction: Prediction) -> RowNeeds | None:
    """What a copy of a row needs after a step; None where the row ends with it."""
    canvas = twin.canvas
    canvas.change(delta)
    if twin.stop.ended(canvas, prediction) is not None:
        return None
    canvas.step += 1
    canvas.window_step += 1
    twin.refresh.learn(canvas, delta.within(len(canvas)))
    twin.open_window()
    return None if twin.window is None else twin.needs()


def _chosen(state: RowState, prediction: Prediction) -> Delta:
    return state.choose(prediction)[1]


def _simple(plan: Plan) -> bool:
    """Whether a plan says no more than which rows are computed and forgotten."""
    return all(
        alike(getattr(plan, each.name), _default(each)) for each in fields(Plan) if each.name not in ("rows", "forget")
    )


def _default(setting: Field[object]) -> object:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()

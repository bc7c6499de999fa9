"""One row at work: its canvas, what is held of it, the states of its parts, and the evaluation that it needs next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from ..generation import LogProbability
from ..row import Row
from .adjustments.contract import AdjustmentState
from .blocks.contract import BlocksState
from .canvas import NOTHING, Canvas, Delta, Span, none
from .chance import token_keys
from .constraints.contract import CanvasConstraintState
from .guessers.contract import GuesserState
from .orders.abilities import Rechecking
from .orders.contract import OrderState
from .prediction import Positions, Prediction
from .refresh.contract import Plan, RefreshState
from .stops.contract import StopState
from .views import CanvasMemory, CanvasOutput, sources

if TYPE_CHECKING:
    from .method import Diffuse


@dataclass(slots=True, eq=False)
class RowNeeds:
    """What one evaluation of one row computes, and what it shall tell."""

    canvases: list[Positions]  # [L] each: the canvas, and the one without the prompt where there is guidance
    window: Span
    plan: Plan  # as the refresh says
    wanted: Positions  # what order, blocks and stop look at, ascending
    known: Positions  # the same, and what a guesser wants to know besides
    rechecked: Positions  # those of them that are predicted as if masked
    draw: int  # the step of the window by which tokens are drawn
    computed: Plan = field(init=False)  # what is really computed; more than `plan` where it is evaluated ahead

    def __post_init__(self) -> None:
        self.computed = self.plan

    def answers(self, other: RowNeeds) -> bool:
        """Whether what was evaluated for this is what `other` needs, as far as the canvas says."""
        return (
            self.window == other.window
            and all(map(np.array_equal, self.canvases, other.canvases))
            and all(alike(getattr(self.plan, each.name), getattr(other.plan, each.name)) for each in fields(Plan))
            and bool(np.isin(other.wanted, self.known).all())
            and np.array_equal(self.rechecked, other.rechecked)
        )


def alike(one: object, other: object) -> bool:
    """Equality, of arrays too."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    return one == other


@dataclass(slots=True, eq=False)
class RowEvaluation:
    """An evaluation made, or to be made: of the present canvas, or of one that the row may reach."""

    state: RowState
    needs: RowNeeds
    memories: list[CanvasMemory]  # one of each canvas
    outputs: Sequence[CanvasOutput] = ()
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another token that the last step might have filled a position with; see `Delta.others`."""

    position: int
    token: int
    sure: float  # its raw probability
    report: LogProbability | None  # where the row wants them


@dataclass(slots=True, eq=False)
class RowState:
    """One row at work, and what its parts say together."""

    row: Row
    method: Diffuse
    canvas: Canvas
    memories: list[CanvasMemory]  # of the canvas, and of the one without the prompt where there is guidance
    order: OrderState
    blocks: BlocksState
    refresh: RefreshState
    stop: StopState
    guesser: GuesserState | None = None
    adjustment: AdjustmentState | None = None
    constraint: CanvasConstraintState | None = None
    window: Span | None = None  # None: nothing is left to fill
    spare: int = 0  # steps or remasks left beyond one fill a step
    granted: int = 0  # of these, what the window brought
    handed: int = 0  # positions that the row's history holds
    reports: dict[int, LogProbability] = field(default_factory=dict)  # by position, where the row wants them
    asked: RowNeeds | None = None  # what the next step needs, where that is known already
    said: Prediction | None = None  # what was predicted last, where a guesser needs it
    others: tuple[Alternative, ...] = ()  # tokens that the next evaluation tries beside those that were filled

    def fork(self, row: Row, memories: list[CanvasMemory]) -> RowState:
        """A copy for another row, over memories of its own."""
        return replace(
            self,
            row=row,
            canvas=self.canvas.fork(row.rule),
            memories=memories,
            order=self.order.fork(),
            blocks=self.blocks.fork(),
            refresh=self.refresh.fork(),
            stop=self.stop.fork(),
            guesser=None if self.guesser is None else self.guesser.fork(),
            adjustment=None if self.adjustment is None else self.adjustment.fork(),
            constraint=None if self.constraint is None else self.constraint.fork(),
            reports=self.reports.copy(),
        )

    # -- before an evaluation -----------------------------------------------------------------

    def open_window(self) -> None:
        """Ask for the window of the next step; tell everyone where it is another one."""
        window = self.blocks.window(self.canvas)
        slid = self.blocks.slides and self.window is not None
        if window is not None and window != self.window and not slid:
            self.canvas.window_step = 0
            for state in (self.order, self.blocks, self.refresh, self.stop, self.adjustment):
                if state is not None:
                    state.begin_window(self.canvas, window)
            self.granted = self.order.spare(self.canvas, window)
            self.spare += self.granted
        self.window = window

    def needs(self) -> RowNeeds:
        """What the next step needs to know. The refresh takes it that it is computed: ask once a step."""
        assert self.window is not None, "a finished row is still at work"
        canvas, window = self.canvas, self.window
        wanted = self.wanted(window)
        assert len(wanted), f"a window {tuple(window)} with nothing to predict"
        plan = self.refresh.plan(canvas, window, wanted)
        known = wanted
        if self.guesser is not None and len(further := self.guesser.looks(canvas, window)):
            rows = np.union1d(plan.rows, sources(canvas.masking, wanted))
            known = np.union1d(wanted, further[np.isin(sources(canvas.masking, further), rows)])
        canvases = [canvas.ids.copy() if self.guesser is not None else canvas.ids]
        if self.method.guidance is not None:
            canvases.append(self.method.guidance.unprompted(canvas))
        order = self.method.order
        rechecked = order.rechecks(canvas, window) if isinstance(order, Rechecking) else none()
        return RowNeeds(canvases, window, plan, wanted, known, rechecked, canvas.window_step)

    def wanted(self, window: Span) -> Positions:
        """Where order, blocks and stop want a prediction, ascending."""
        looks = self.refresh.wanted(self.canvas, window, self.order)
        for part in (self.blocks, self.stop):
            if len(further := part.looks(self.canvas, window)):
                looks = np.union1d(looks, further)
        return looks

    # -- after it -----------------------------------------------------------------------------

    def drawn(self, prediction: Prediction, draw: int) -> Prediction:
        """A prediction that was drawn by one step of the window, as the present one draws it."""
        if draw == self.canvas.window_step:
            return prediction
        return prediction.redrawn(token_keys(self.row.rule, prediction.positions, self.canvas.window_step))

    def choose(self, prediction: Prediction) -> tuple[Prediction, Delta]:
        """What the order sees of a prediction at the wanted positions, and what it fills."""
        own = self.adjusted(prediction)
        assert self.window is not None
        if not len(own.positions):  # of a guess: others have filled all that it may
            return own, NOTHING
        if self.constraint is None:
            return own, self.order.choose(self.canvas, own, self.window)
        before, window = self.order, self.window

        def choose(changed: Prediction) -> Delta:
            self.order = before.fork()
            return self.order.choose(self.canvas, changed, window)

        return self.constraint.admit(self.canvas, own, window, choose)

    def adjusted(self, prediction: Prediction) -> Prediction:
        """What the order chooses from: the part that it looks at, as the parts adjust it. Ask once a step."""
        window = self._settle(prediction)
        own = prediction.at(self.order.looks(self.canvas, window))
        for part in (self.adjustment, self.order, self.stop):
            if part is not None:
                own = part.adjust(self.canvas, own, window)
        return own

    def _settle(self, prediction: Prediction) -> Span:
        """The window, which may now become a part of itself."""
        assert self.window is not None, "a finished row is still at work"
        window = self.blocks.settle(self.canvas, self.window, prediction)
        if window != self.window:
            assert self.window.start <= window.start < window.end <= self.window.end, "a window settles for a part"
            for state in (self.order, self.stop):
                state.begin_window(self.canvas, window)
            granted, self.granted = self.granted, self.order.spare(self.canvas, window)
            self.spare += self.granted - granted
            self.window = window
        return window

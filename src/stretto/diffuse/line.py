"""One row at work: its canvas, its sheets, the sessions of the parts, and the evaluations it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..generation import LogProbability
from ..row import Row
from .board import Sheet, Sight, sources
from .chance import token_keys
from .contract import (
    NOTHING,
    Blocking,
    Canvas,
    Constraining,
    Delta,
    Future,
    Looking,
    Ordering,
    Plan,
    Recalling,
    Refreshing,
    Span,
    Stopping,
    none,
)
from .proposal import Positions, Proposal

if TYPE_CHECKING:
    from .loop import Diffuse


@dataclass(slots=True, eq=False)
class Ask:
    """One evaluation of one row."""

    canvases: list[Positions]  # [L] each: the canvas, and the one without the prompt where there is guidance
    window: Span
    plan: Plan  # as the refresh asks
    wanted: Positions  # what order and stop look at, ascending
    known: Positions  # the same, and what a lookahead wants to know besides
    doubts: Positions  # those of them that are spoken of as if masked
    draw: int  # the step of the window by which tokens are drawn
    computed: Plan = field(init=False)  # what is really computed; see `Reach`

    def __post_init__(self) -> None:
        self.computed = self.plan

    def answers(self, other: Ask) -> bool:
        """Whether what was evaluated for this is what `other` asks for, as far as the canvas says."""
        return (
            self.window == other.window
            and all(map(np.array_equal, self.canvases, other.canvases))
            and all(_alike(getattr(self.plan, each.name), getattr(other.plan, each.name)) for each in fields(Plan))
            and bool(np.isin(other.wanted, self.known).all())
            and np.array_equal(self.doubts, other.doubts)
        )


@dataclass(slots=True, eq=False)
class Attempt:
    """An evaluation made, or to be made: of the present canvas, or of one that the row may reach."""

    line: Line
    ask: Ask
    sheets: list[Sheet]  # one of each canvas
    sights: Sequence[Sight] = ()
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another token that the last step might have filled a position with; see `Delta.others`."""

    position: int
    token: int
    sure: float  # its raw probability
    report: LogProbability | None  # where the row wants them


@dataclass(slots=True, eq=False)
class Line:
    """One row at work."""

    row: Row
    method: Diffuse
    canvas: Canvas
    sheets: list[Sheet]  # of the canvas, and of the one without the prompt where there is guidance
    order: Ordering
    blocks: Blocking
    refresh: Refreshing
    stop: Stopping
    looking: Looking | None = None
    hindsight: Recalling | None = None
    constraint: Constraining | None = None
    window: Span | None = None  # None: nothing is left to fill
    spare: int = 0  # steps or remasks left beyond one fill a step
    granted: int = 0  # of these, what the window brought
    handed: int = 0  # positions that the row's history holds
    reports: dict[int, LogProbability] = field(default_factory=dict)  # by position, where the row wants them
    asked: Ask | None = None  # what the next step needs, where that is known already
    said: Proposal | None = None  # what the model said last, where a lookahead needs it
    others: tuple[Alternative, ...] = ()  # tokens that the next evaluation tries beside those that were filled

    def fork(self, row: Row, sheets: list[Sheet]) -> Line:
        """A copy for another row, on sheets of its own."""
        return replace(
            self,
            row=row,
            canvas=self.canvas.fork(row.rule),
            sheets=sheets,
            order=self.order.fork(),
            blocks=self.blocks.fork(),
            refresh=self.refresh.fork(),
            stop=self.stop.fork(),
            looking=None if self.looking is None else self.looking.fork(),
            hindsight=None if self.hindsight is None else self.hindsight.fork(),
            constraint=None if self.constraint is None else self.constraint.fork(),
            reports=self.reports.copy(),
        )

    def open_window(self) -> None:
        """Ask for the window of the next step; tell everyone where it is another one."""
        window = self.blocks.window(self.canvas)
        slid = self.blocks.slides and self.window is not None
        if window is not None and window != self.window and not slid:
            self.canvas.window_step = 0
            for session in (self.order, self.blocks, self.refresh, self.stop):
                session.begin_window(self.canvas, window)
            if self.hindsight is not None:
                self.hindsight.begin_window(self.canvas, window)
            self.granted = self.order.spare(self.canvas, window)
            self.spare += self.granted
        self.window = window

    def put(self, other: Alternative) -> None:
        """Fill a position with another token than the last step did."""
        self.canvas.ids[other.position], self.canvas.sure[other.position] = other.token, other.sure
        if other.report is not None:
            self.reports[other.position] = other.report

    def own(self, proposal: Proposal) -> Proposal:
        """What the order chooses from; the window is settled now, and may become a part of itself."""
        assert self.window is not None, "a finished row is still at work"
        window = self.blocks.settle(self.canvas, self.window, proposal)
        if window != self.window:
            assert self.window.start <= window.start < window.end <= self.window.end, "a window settles for a part"
            for session in (self.order, self.stop):
                session.begin_window(self.canvas, window)
            granted, self.granted = self.granted, self.order.spare(self.canvas, window)
            self.spare += self.granted - granted
            self.window = window
        return self.stop.weigh(self.canvas, self.considered(proposal, window))

    def ask(self) -> Ask:
        """What the next step needs to know. The refresh takes it that it is computed: ask once a step."""
        assert self.window is not None, "a finished row is still at work"
        canvas, window = self.canvas, self.window
        wanted = self.wanted(window)
        assert len(wanted), f"a window {tuple(window)} with nothing to propose for"
        plan = self.refresh.plan(canvas, window, wanted)
        known = wanted
        if self.looking is not None and len(further := self.looking.looks(canvas, window)):
            rows = np.union1d(plan.rows, sources(canvas.masking, wanted))
            known = np.union1d(wanted, further[np.isin(sources(canvas.masking, further), rows)])
        canvases = [canvas.ids.copy() if self.looking is not None else canvas.ids]
        if self.method.guidance is not None:
            canvases.append(self.method.guidance.unprompted(canvas))
        return Ask(canvases, window, plan, wanted, known, self.order.doubts(canvas, window), self.draw)

    def wanted(self, window: Span) -> Positions:
        """Where order, blocks and stop want the model's proposal, ascending."""
        looks = (self.order.foreseen if self.refresh.foresight else self.order.looks)(self.canvas, window)
        for part in (self.blocks, self.stop):
            if len(further := part.looks(self.canvas, window)):
                looks = np.union1d(looks, further)
        return looks

    def choose(self, proposal: Proposal) -> tuple[Proposal, Delta]:
        """What the order sees of a proposal at the wanted positions, and what it fills."""
        own = self.own(proposal)
        assert self.window is not None
        if not len(own.positions):  # of a guess: others have filled all that it may
            return own, NOTHING
        if self.constraint is None:
            return own, self.order.choose(self.canvas, own, self.window)
        before, window = self.order, self.window

        def choose(changed: Proposal) -> Delta:
            self.order = before.fork()
            return self.order.choose(self.canvas, changed, window)

        return self.constraint.admit(self.canvas, own, window, choose)

    def considered(self, proposal: Proposal, window: Span) -> Proposal:
        """What the order chooses from: the part that it looks at, in the light of earlier steps. Ask once a step."""
        own = proposal.at(self.order.looks(self.canvas, window))
        if self.hindsight is not None:
            own = self.hindsight.reconsider(self.canvas, own, window)
        return self.order.reconsider(self.canvas, own, window)

    @property
    def draw(self) -> int:
        """The step of the window by which tokens are drawn."""
        return self.canvas.window_step if self.method.order.redraws else 0

    def drawn(self, proposal: Proposal, draw: int) -> Proposal:
        """A proposal that was drawn by one step, as the present one draws it."""
        if draw == self.draw:
            return proposal
        return proposal.redrawn(token_keys(self.row.rule, proposal.positions, self.draw))


class Reach:
    """How far ahead evaluations are independent of each other: which rows a step reads that an earlier one computes.

    All canvases of a round are evaluated from the same keys and values. So each must compute itself what the steps
    before it compute; where an exact refresh does not, it may, as the outcome is the same.
    """

    def __init__(self, first: Ask, canvas: Canvas, exact: bool) -> None:
        self.masking = canvas.masking
        self.exact = exact
        self.rows = none()  # computed by the steps so far
        self.forgotten = none()  # dropped by them
        self.open = _simple(first.plan)
        self._pass(first)

    def covers(self, ask: Ask) -> bool:
        """Whether this evaluation needs none of those before it; settles what it computes."""
        if not self.open or not _simple(ask.plan):
            return False
        size = len(ask.canvases[0])  # a stop may have cut the canvas
        missing = np.setdiff1d(self.rows[self.rows < size], self._of(ask))
        if len(missing) and not (self.exact and missing[-1] < self._of(ask)[0]):
            return False  # exact is what stands before; what stands behind may be an older state
        rows = np.union1d(ask.plan.rows, missing)
        self._pass(ask)
        ask.computed = Plan(rows, np.setdiff1d(self.forgotten[self.forgotten < size], np.union1d(rows, self._of(ask))))
        return True

    def _of(self, ask: Ask) -> Positions:
        spoken = np.union1d(sources(self.masking, ask.wanted), ask.doubts)
        return np.union1d(ask.plan.rows, spoken)

    def _pass(self, ask: Ask) -> None:
        self.rows = np.union1d(self.rows, self._of(ask))
        self.forgotten = np.union1d(self.forgotten, ask.plan.forget)


def ahead(line: Line, first: Ask, exact: bool) -> Iterator[Ask]:
    """The evaluations that a row will ask for after `first`, if the model keeps to what it said last.

    They are found by taking the steps: on copies of everything, with a proposal that is one step old at least. Other
    guesses of a step stand before it, so that what is reached earlier always comes earlier.
    """
    looking, said = line.looking, line.said
    if looking is None or said is None:
        return
    twin = line.fork(line.row, [])
    reach, steps = Reach(first, twin.canvas, exact), 0
    while twin.window is not None:
        wanted = twin.wanted(twin.window)
        if not np.isin(wanted, said.positions).all():
            return
        proposal = said.at(wanted).redrawn(token_keys(line.row.rule, wanted, twin.draw))
        leaves = [twin.fork(line.row, []) for _ in range(looking.width - 1)]
        delta = looking.next(Future(twin.canvas, twin.window, partial(_chosen, twin, proposal), steps))
        if delta is None:
            return
        taken = set(delta.touched)
        for leaf in leaves:  # other guesses of this step; nothing is guessed beyond them
            rest = proposal.at(np.setdiff1d(wanted, list(taken)))
            if not len(rest.positions):
                break
            other = _chosen(leaf, rest)
            if not other.touched:
                break
            taken.update(other.touched)
            ask = _next(leaf, other, proposal)
            if ask is not None and copy(reach).covers(ask):
                yield ask
        ask = _next(twin, delta, proposal)
        if ask is None or not reach.covers(ask):
            return
        steps += 1
        yield ask


def _next(twin: Line, delta: Delta, proposal: Proposal) -> Ask | None:
    """What a copy of a row asks for after a step; None where the row ends with it."""
    canvas = twin.canvas
    canvas.change(delta)
    if twin.stop.ended(canvas, proposal) is not None:
        return None
    canvas.step += 1
    canvas.window_step += 1
    twin.refresh.learn(canvas, delta.within(len(canvas)))
    twin.open_window()
    return None if twin.window is None else twin.ask()


def _chosen(line: Line, proposal: Proposal) -> Delta:
    return line.choose(proposal)[1]


def _simple(plan: Plan) -> bool:
    """Whether a plan says no more than which rows are computed and forgotten."""
    return all(_alike(getattr(plan, each.name), _default(each)) for each in fields(Plan) if each.name not in _PLAIN)


_PLAIN = ("rows", "forget")


def _default(each: object) -> object:
    default, factory = each.default, each.default_factory  # type: ignore[attr-defined]
    return default if factory is MISSING else factory()


def _alike(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    return one == other

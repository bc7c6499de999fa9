"""The loop of this family: blocks give the window, refresh what to compute, order what to fill, stop when to end.

It enforces what no part may break: what is given never changes, only computed positions are filled, each step gets
somewhere, and what is handed out bears no mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch

from ..entry import Guarantee
from ..errors import Unsupported
from ..generation import LogProbability, Step
from ..models.cache import Cache
from ..models.contract import Model
from ..models.masked import masking_of
from ..row import Row
from ..speculate.contract import Context
from ..speculate.loop import Commit
from ..steer.pipeline import Pipeline
from .board import Board, Sheet, Sight, View
from .chance import token_keys
from .contract import (
    GIVEN,
    OPEN,
    Blocking,
    Blocks,
    Canvas,
    Delta,
    Order,
    Ordering,
    Refresh,
    Refreshing,
    Span,
    Stop,
    Stopping,
    World,
)
from .guidance import Guidance
from .proposal import Positions, Proposal, Proposals


@dataclass(frozen=True, slots=True)
class Diffuse:
    """The parts of one decode of this family."""

    order: Order
    blocks: Blocks
    refresh: Refresh
    stop: Stop
    guidance: Guidance | None = None

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and filling one position after another."""
        return self.order.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the parts, the model and the steers do not fit together."""
        masking = masking_of(model)
        if masking is None:
            raise Unsupported(
                f"{model.name} continues text; {self.order.name!r} fills the masks of a masked-diffusion model",
                hint="use method='lookup', or a masked-diffusion checkpoint",
            )
        steer = next((step for step in pipeline.steps if not step.pointwise), None)
        if steer is not None:
            raise Unsupported(
                f"{steer.name} looks at the text so far, and positions are filled in any order",
                hint="leave it out; temperature, truncation, biases and bans work",
            )
        world = World(model, masking, pipeline)
        for part in (self.order, self.blocks, self.refresh, self.stop):
            part.check(world)

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of one decode."""
        return Loop(context, self, cache)


@dataclass(slots=True, eq=False)
class Line:
    """One row at work."""

    row: Row
    canvas: Canvas
    sheets: list[Sheet]  # of the canvas, and of the one without the prompt where there is guidance
    order: Ordering
    blocks: Blocking
    refresh: Refreshing
    stop: Stopping
    window: Span | None = None  # None: nothing is left to fill
    spare: int = 0  # steps or remasks left beyond one fill a step
    handed: int = 0  # positions that the row's history holds
    reports: dict[int, LogProbability] = field(default_factory=dict)  # by position, where the row wants them

    def open_window(self) -> None:
        """Ask for the window of the next step; tell everyone where it is another one."""
        window = self.blocks.window(self.canvas)
        if window is not None and window != self.window:
            self.canvas.window_step = 0
            for session in (self.order, self.blocks, self.refresh, self.stop):
                session.begin_window(self.canvas, window)
            self.spare += self.order.spare(self.canvas, window)
        self.window = window


class Loop:
    """Fills the canvases of several rows together; they join, leave and end at any step."""

    def __init__(self, context: Context, method: Diffuse, cache: Cache) -> None:
        masking = masking_of(context.target)
        assert masking is not None, "the method was checked against the model"
        self.model = context.target
        self.masking = masking
        self.method = method
        self.cache = cache
        self.rows: list[Row] = []
        self.board = Board(self.model, masking, cache)
        self._context = context
        self._lines: dict[Row, Line] = {}

    # -- rows ---------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """Let a row join; its cache row is empty, and nothing is evaluated before the first step."""
        given = np.array([*row.history.tokens, *row.given], np.int64)
        limit = len(given) if row.given else len(given) + row.limits.new_tokens
        canvas = Canvas(given, self.masking, limit, row.rule, row.limits.ends)
        method, context = self.method, self._context
        sheets = [Sheet(row.cache_row)]
        if method.guidance is not None:
            sheets.append(self.board.open())
        line = Line(
            row,
            canvas,
            sheets,
            method.order.open(canvas, context),
            method.blocks.open(canvas, context),
            method.refresh.open(canvas, context),
            method.stop.open(canvas, context),
            handed=len(row.history.tokens),
        )
        line.open_window()
        row.counters.prompt_tokens = int(canvas.frozen.sum())
        self._join(line)

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as a continuation of what `row` holds now, under its own rule of choice."""
        line = self._lines[row]
        sheets = [self.board.fork(sheet)[0] for sheet in line.sheets]
        copy.cache_row = sheets[0].row
        twin = replace(
            line,
            row=copy,
            canvas=line.canvas.fork(copy.rule),
            sheets=sheets,
            order=line.order.fork(),
            blocks=line.blocks.fork(),
            refresh=line.refresh.fork(),
            stop=line.stop.fork(),
            reports=line.reports.copy(),
        )
        self._join(twin)

    def remove(self, row: Row) -> None:
        """Let a row leave, finished or not."""
        self.rows.remove(row)
        for sheet in self._lines.pop(row).sheets:
            self.board.close(sheet)

    def canvas(self, row: Row) -> Canvas:
        """A row's canvas as it stands."""
        return self._lines[row].canvas

    def _join(self, line: Line) -> None:
        self.rows.append(line.row)
        self._lines[line.row] = line

    # -- one step -----------------------------------------------------------------------------

    def step(self) -> list[Commit]:
        """One step of all rows. Finished rows leave."""
        begun = perf_counter()
        lines = [self._lines[row] for row in self.rows]
        proposals, sights = self._propose(lines)
        deltas, commits = [], []
        for line, proposal, seen in zip(lines, proposals, sights, strict=True):
            delta, done = self._change(line, proposal, seen)
            deltas.append(delta)
            commits.append(self._hand_out(line, done))
        self._record(lines, deltas, sights, perf_counter() - begun)
        for line in lines:
            if line.row.finish:
                self.remove(line.row)
        return commits

    def _propose(self, lines: Sequence[Line]) -> tuple[list[Proposal], list[list[Sight]]]:
        """Evaluate what is stale; what the model proposes for each row, and what was seen of each of its canvases."""
        views: list[View] = []
        wanted: list[Positions] = []
        for line in lines:
            assert line.window is not None, "a finished row is still at work"
            looks = line.order.looks(line.canvas, line.window)
            further = line.stop.looks(line.canvas, line.window)
            wanted.append(np.union1d(looks, further) if len(further) else looks)
            assert len(wanted[-1]), f"a window {tuple(line.window)} with nothing to propose for"
            plan = line.refresh.plan(line.canvas, line.window, wanted[-1])
            canvases = [line.canvas.ids]
            if self.method.guidance is not None:
                canvases.append(self.method.guidance.unprompted(line.canvas))
            for sheet, ids in zip(line.sheets, canvases, strict=True):
                views.append(View(sheet, ids, plan, line.window, wanted[-1]))
        logits, seen = self.board.evaluate(views)
        each = len(lines[0].sheets)
        sights = [seen[at : at + each] for at in range(0, len(seen), each)]
        if self.method.guidance is not None:
            logits = torch.cat(
                [
                    self.method.guidance.guide(*(logits[one.start : one.start + len(at)] for one in both))
                    for both, at in zip(sights, wanted, strict=True)
                ]
            )
        return self._proposals(lines, wanted, logits), sights

    def _proposals(self, lines: Sequence[Line], wanted: Sequence[Positions], logits: torch.Tensor) -> list[Proposal]:
        """Cut the logits [N, V] of all wanted positions into the rows' proposals."""
        pipeline = lines[0].row.rule.pipeline
        assert all(line.row.rule.pipeline == pipeline for line in lines), "rows of one decode share a pipeline"
        keys = None
        if not pipeline.greedy:
            redraws = self.method.order.redraws
            steps = [line.canvas.window_step if redraws else 0 for line in lines]
            keys = np.concatenate(
                [token_keys(line.row.rule, at, step) for line, at, step in zip(lines, wanted, steps, strict=True)]
            )
        whole = Proposals(logits, pipeline, keys)
        starts = np.cumsum([0, *map(len, wanted)])
        return [
            Proposal(whole, np.arange(start, start + len(at)), at)
            for start, at in zip(starts[:-1].tolist(), wanted, strict=True)
        ]

    def _change(self, line: Line, proposal: Proposal, sights: Sequence[Sight]) -> tuple[Delta, bool]:
        """Let the order fill and the stop judge; what changed, and whether the row's canvas is done."""
        canvas, window = line.canvas, line.window
        assert window is not None
        line.refresh.read(canvas, sights[0].reading)
        own = proposal.at(line.order.looks(canvas, window))
        delta = line.order.choose(canvas, own, window)
        self._enforce(line, delta, own, window)
        self._apply(line, delta, proposal)
        ending = line.stop.ended(canvas, proposal)
        if ending is not None:
            self._apply(line, ending, proposal)
            delta = Delta(
                {**delta.commit, **ending.commit}, delta.remask | ending.remask, {**delta.revise, **ending.revise}
            )
        canvas.step += 1
        canvas.window_step += 1
        line.refresh.learn(canvas, delta)
        if ending is None:
            line.open_window()
        return delta, ending is not None or line.window is None

    def _enforce(self, line: Line, delta: Delta, proposal: Proposal, window: Span) -> None:
        """What no order may do."""
        name, order = self.method.order.name, self.method.order
        assert order.revises or not (delta.remask or delta.revise), f"{name} remasks, and does not declare it"
        for position in delta.touched:
            inside = window.start <= position < window.end
            assert inside or order.roams, f"{name} changes position {position}, outside of {tuple(window)}"
        computed = set(proposal.positions.tolist())
        assert computed >= {*delta.commit, *delta.revise}, f"{name} fills positions that were not computed"
        line.spare -= max(0, 1 - len(delta.commit) + len(delta.remask))
        assert line.spare >= 0, f"{name} gets nowhere, or takes more steps than it declares"

    def _apply(self, line: Line, delta: Delta, proposal: Proposal) -> None:
        """Change the canvas; given tokens never change."""
        canvas, row = line.canvas, line.row
        for position, token in (*delta.commit.items(), *delta.revise.items()):
            before = canvas.filled[position]
            assert before == OPEN if position in delta.commit else before >= 0, f"position {position} is not free"
            assert token != self.masking.mask and 0 <= token < self.model.vocabulary, f"{token} fills no position"
        for position in delta.remask:
            assert canvas.filled[position] >= 0, f"position {position} holds nothing to take back"
            canvas.ids[position], canvas.filled[position] = self.masking.mask, OPEN
            canvas.sure[position] = np.nan
        changes = {**delta.commit, **delta.revise}
        if not changes:
            return
        at = np.fromiter(changes, np.int64)
        tokens = np.fromiter(changes.values(), np.int64)
        canvas.ids[at], canvas.filled[at] = tokens, canvas.step
        known = proposal.at(at)
        agrees = known.tokens == canvas.ids[known.positions]
        canvas.sure[known.positions] = np.where(agrees, known.confidence("raw"), np.nan)
        if row.log_probabilities is not None:
            reports = known.report(canvas.ids[known.positions].tolist(), row.log_probabilities)
            line.reports.update(zip(known.positions.tolist(), reports, strict=True))

    def _hand_out(self, line: Line, done: bool) -> Commit:
        """Give the row what is final: all that stands before the first mask, unless the order may take it back."""
        row, canvas = line.row, line.canvas
        ready = canvas.ready
        if not done and self.method.order.revises:
            ready = line.handed
        tokens = canvas.ids[line.handed : ready].tolist()
        if not done:  # a stop decides whether an end token ends the row at once
            tokens = tokens[: next((at for at, token in enumerate(tokens) if token in canvas.ends), len(tokens))]
        kept = row.advance(tokens) if tokens else []
        if row.log_probabilities is not None:
            row.reported.extend(
                self._report(line, position) for position in range(line.handed, line.handed + len(kept))
            )
        line.handed += len(kept)
        if done and not row.finish:
            assert line.handed == len(canvas), "a row ends with masks before its end"
            row.finish = "length"
        return Commit(row, kept, [""] * len(kept))

    def _report(self, line: Line, position: int) -> LogProbability:
        """What was certain when the position was filled; of a given token that it was certain."""
        token = int(line.canvas.ids[position])
        if line.canvas.filled[position] == GIVEN:
            return LogProbability(token, 0.0, 0.0)
        return line.reports.get(position) or LogProbability(token, float("nan"), float("nan"))

    def _record(
        self, lines: Sequence[Line], deltas: Sequence[Delta], sights: Sequence[Sequence[Sight]], seconds: float
    ) -> None:
        """Counters and the trace."""
        for line, delta, seen in zip(lines, deltas, sights, strict=True):
            counters, canvas = line.row.counters, line.canvas
            computed = sum(sight.computed for sight in seen)
            counters.rounds += 1
            counters.row_forwards += len(seen)
            counters.token_forwards += computed
            counters.layer_token_forwards += self.model.layers * computed
            counters.seconds += seconds
            positions = sorted(delta.commit)
            line.row.steps.append(
                Step(
                    position=positions[0] if positions else canvas.ready,
                    committed=[delta.commit[position] for position in positions],
                    sources=[""] * len(positions),
                    seconds=seconds,
                    positions=positions,
                    remasked=sorted(delta.remask),
                    revised=sorted(delta.revise),
                    confidence=[float(canvas.sure[position]) for position in positions],
                )
            )

"""The loop of this family: blocks give the window, refresh what to compute, order what to fill, stop when to end.

It enforces what no part may break: what is given never changes, only computed positions are filled, each step gets
somewhere, and what is handed out bears no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from time import perf_counter

import numpy as np
import torch

from ..constrain.contract import Constraint as OfText
from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..generation import LogProbability, Step
from ..loop import Loop as Base
from ..models.cache import Cache
from ..models.contract import Model
from ..models.masked import masking_of
from ..row import Commit, Row
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from ..values import Checked
from .alternatives import offered, settled, variants
from .board import Board, Sheet, View, sources
from .chance import token_keys
from .contract import (
    GIVEN,
    OPEN,
    Blocks,
    Canvas,
    Constraint,
    Delta,
    Hindsight,
    Lookahead,
    Order,
    Refresh,
    Span,
    Stop,
    World,
)
from .grammatical import OnCanvas
from .guidance import Guidance
from .line import Attempt, Line, ahead
from .proposal import Proposal, Proposals


@dataclass(frozen=True, slots=True)
class Diffuse(metaclass=Checked):
    """The parts of one decode of this family."""

    order: Order
    blocks: Blocks
    refresh: Refresh
    stop: Stop
    guidance: Guidance | None = None
    lookahead: Lookahead | None = None
    hindsight: Hindsight | None = None
    constraint: Constraint | OfText | None = None
    steers: tuple[Steer, ...] = ()  # beside those of the request

    @property
    def kept(self) -> Constraint | None:
        """The constraint as canvases keep it."""
        return OnCanvas(self.constraint) if isinstance(self.constraint, OfText) else self.constraint

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
        world = World(model, masking, pipeline, self.order)
        if self.constraint is not None and self.stop.fills:
            raise Unsupported(
                f"{self.stop.name!r} fills or cuts the canvas by itself, where {self.constraint.name!r} is not asked",
                hint="use 'end-of-text' or 'fill'",
            )
        beside = self.lookahead or self.constraint
        if self.order.offers and beside is not None:
            raise Unsupported(
                f"{self.order.name!r} tries several tokens for a position, which {beside.name!r} cannot follow",
                hint=f"leave out {beside.name!r}, or let the order try one token",
            )
        for part in (self.order, self.blocks, self.refresh, self.stop, self.lookahead, self.hindsight, self.kept):
            if part is not None:
                part.check(world)

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        return Loop(context, cache, self)


class Loop(Base[Diffuse]):
    """Fills the canvases of several rows together; they join, leave and end at any step."""

    def __init__(self, context: Context, cache: Cache, usual: Diffuse | None = None) -> None:
        super().__init__(context, cache)
        masking = masking_of(self.model)
        assert masking is not None, "the method was checked against the model"
        self.masking = masking
        self.board = Board(self.model, masking, cache)
        self.usual = usual
        self._lines: dict[Row, Line] = {}

    # -- rows ---------------------------------------------------------------------------------

    def begin(self, method: Diffuse) -> Diffuse:
        """Each row has parts of its own: nothing is shared."""
        return method

    _work = begin

    def _read(self, row: Row, work: Diffuse, size: Callable[[], int]) -> Iterator[None]:
        """A canvas for the row; nothing is evaluated before the first step."""
        yield from ()
        given = np.array([*row.history.tokens, *row.given], np.int64)
        limit = len(given) if row.given else len(given) + row.limits.new_tokens
        canvas = Canvas(given, self.masking, limit, row.rule, row.limits.ends)
        sheets = [Sheet(row.cache_row)]
        if work.guidance is not None:
            sheets.append(self.board.open())
        self._lines[row] = line = Line(
            row,
            work,
            canvas,
            sheets,
            work.order.open(canvas, self.context),
            work.blocks.open(canvas, self.context),
            work.refresh.open(canvas, self.context),
            work.stop.open(canvas, self.context),
            None if work.lookahead is None else work.lookahead.open(canvas, self.context),
            None if work.hindsight is None else work.hindsight.open(canvas, self.context),
            None if work.kept is None else work.kept.open(canvas, self.context),
            handed=len(row.history.tokens),
        )
        line.open_window()
        row.counters.prompt_tokens = int(canvas.frozen.sum())

    def fork(self, row: Row, copy: Row) -> None:
        line = self._lines[row]
        sheets = [self.board.fork(sheet)[0] for sheet in line.sheets]
        copy.cache_row = sheets[0].row
        self._lines[copy] = line.fork(copy, sheets)
        self._join(copy, self.works[row])

    def _forget(self, row: Row, work: Diffuse) -> None:
        line = self._lines.pop(row, None)
        for sheet in [Sheet(row.cache_row)] if line is None else line.sheets:
            self.board.close(sheet)
        row.cache_row = -1

    def canvas(self, row: Row) -> Canvas:
        """A row's canvas as it stands."""
        return self._lines[row].canvas

    # -- one step -----------------------------------------------------------------------------

    def step(self) -> list[Commit]:
        """One step of all rows, and those after it that a lookahead foresaw. Finished rows leave."""
        begun = perf_counter()
        lines = [self._lines[row] for row in self.rows]
        chains = [self._chain(line) for line in lines]
        looked = any(line.looking is not None for line in lines)
        draft_seconds = perf_counter() - begun if looked else 0.0
        for wave in self._waves(chains):
            self._evaluate(wave)
        commits, walked = [], []
        for line, chain in zip(lines, chains, strict=True):
            commit, steps = self._walk(line, chain)
            commits.append(commit)
            walked.append(steps)
        self._record(lines, chains, walked, perf_counter() - begun, draft_seconds)
        for line in lines:
            if line.row.finish:
                self.remove(line.row)
        return commits

    def _chain(self, line: Line) -> list[Attempt]:
        """What to evaluate for a row: what it asks for, the same with other tokens, and what it may ask for next."""
        first, line.asked = line.asked or line.ask(), None
        chain = [Attempt(line, first, line.sheets)]
        for ask in (*variants(line, first), *ahead(line, first, line.method.refresh.exact)):
            sheets = []
            for sheet in line.sheets:  # nothing is copied where everything is computed anyway
                blank = not ask.plan.reuse and bool(np.isin(sheet.held, ask.computed.rows).all())
                sheets.append(self.board.open() if blank else self.board.fork(sheet)[0])
            chain.append(Attempt(line, ask, sheets))
        return chain

    def _waves(self, chains: Sequence[Sequence[Attempt]]) -> list[list[Attempt]]:
        """What is evaluated together: everything, or the first of all rows, then what is ahead, one by one."""
        first: list[Attempt] = []
        later: list[list[Attempt]] = []
        for chain in chains:
            lookahead = chain[0].line.method.lookahead
            at_once = len(chain) if lookahead is None or lookahead.together else 1
            first += chain[:at_once]
            later += [[attempt] for attempt in chain[at_once:]]
        return [first, *later]

    def _evaluate(self, attempts: Sequence[Attempt]) -> None:
        """Find out what the model proposes in each of them."""
        views = [
            View(sheet, ids, attempt.ask.computed, attempt.ask.window, attempt.ask.known, attempt.ask.doubts)
            for attempt in attempts
            for sheet, ids in zip(attempt.sheets, attempt.ask.canvases, strict=True)
        ]
        logits, seen = self.board.evaluate(views)
        sights = iter(seen)
        for attempt in attempts:
            attempt.sights = [next(sights) for _ in attempt.sheets]
        logits = self._redo(attempts, views, logits)
        if any(attempt.line.method.guidance is not None for attempt in attempts):
            logits = torch.cat([_guided(attempt, logits) for attempt in attempts])
        self._propose(attempts, logits)

    def _redo(self, attempts: Sequence[Attempt], views: Sequence[View], logits: torch.Tensor) -> torch.Tensor:
        """Compute once more what a refresh wants to have anew, now that it has seen something: logits [N, V]."""
        parts, at, changed = [], 0, False
        for attempt in attempts:
            layer = None
            if attempt.ask.plan.keep:
                layer = attempt.line.refresh.redo(attempt.line.canvas, attempt.sights[0].reading)
            sights = list(attempt.sights)
            for each, sight in enumerate(attempt.sights):
                part = logits[sight.start : sight.start + len(attempt.ask.known)]
                if layer is not None:
                    part, sights[each] = self.board.redo(views[at + each], sight, layer)
                    changed = True
                parts.append(part)
            attempt.sights = sights
            at += len(sights)
        return torch.cat(parts) if changed else logits

    def _propose(self, attempts: Sequence[Attempt], logits: torch.Tensor) -> None:
        """Cut the logits [N, V] of all known positions into the proposals; rows of one pipeline share its work."""
        ends = list(accumulate(len(each.ask.known) for each in attempts))
        alike: dict[Pipeline, list[int]] = {}
        for at, each in enumerate(attempts):
            alike.setdefault(each.line.row.rule.pipeline, []).append(at)
        for pipeline, places in alike.items():
            own = [attempts[at] for at in places]
            part = logits
            if len(alike) > 1:
                part = torch.cat([logits[ends[at] - len(attempts[at].ask.known) : ends[at]] for at in places])
            keys = None
            if not pipeline.greedy:
                keys = np.concatenate([token_keys(each.line.row.rule, each.ask.known, each.ask.draw) for each in own])
            whole = Proposals(part, pipeline, keys)
            start = 0
            for each in own:
                lines = np.arange(start, start + len(each.ask.known))
                each.proposal = Proposal(whole, lines, each.ask.known)
                start += len(lines)

    def _walk(self, line: Line, chain: Sequence[Attempt]) -> tuple[Commit, list[Step]]:
        """Take the step that was asked for, and go on as long as the next one was evaluated already."""
        kept: list[int] = []
        steps: list[Step] = []
        left = [settled(line, chain)] if line.others else list(chain)
        while True:
            current = left.pop(0)
            line.sheets, line.row.cache_row = current.sheets, current.sheets[0].row
            delta, done = self._change(line, current, left)
            kept += self._hand_out(line, done)
            steps.append(_traced(line.canvas, delta))
            if line.looking is None or line.row.finish:
                break
            line.said = current.proposal
            line.asked = line.ask()
            while left and not self._answers(left[0], line):
                left.pop(0)
            if not left:
                break
            line.asked = None
        for attempt in chain:
            if attempt.sheets is not line.sheets:
                for sheet in attempt.sheets:
                    self.board.close(sheet)
        if line.looking is not None:
            line.looking.learn(len(chain) - 1, len(steps) - 1)
        return Commit(line.row, kept, [""] * len(kept)), steps

    def _answers(self, attempt: Attempt, line: Line) -> bool:
        """Whether what was evaluated ahead is what the row asks for now, down to what its cache holds."""
        ask = line.asked
        assert ask is not None
        if not attempt.ask.answers(ask):
            return False
        rows = np.union1d(ask.plan.rows, sources(self.masking, ask.wanted))
        held = np.union1d(np.setdiff1d(line.sheets[0].held, ask.plan.forget), rows)
        return np.array_equal(np.sort(attempt.sheets[0].held), held[held < len(line.canvas)])

    def _change(self, line: Line, attempt: Attempt, left: Sequence[Attempt]) -> tuple[Delta, bool]:
        """Let the order fill and the stop judge; what changed, and whether the row's canvas is done.

        `left`: what was evaluated ahead.
        """
        canvas, window = line.canvas, line.window
        assert window is not None and attempt.proposal is not None
        line.refresh.read(canvas, attempt.sights[0].reading)
        proposal = line.drawn(attempt.proposal, attempt.ask.draw).at(line.wanted(window))
        own, delta = line.choose(proposal)
        if line.looking is not None and left:
            delta = line.looking.taken(canvas, delta, [each.ask.canvases[0] for each in left])
        window = line.window or window  # settled by now
        self._enforce(line, delta, own, window)
        self._apply(line, delta, proposal, own)
        ending = line.stop.ended(canvas, proposal)
        if ending is not None:
            self._apply(line, ending, proposal, proposal)
            delta = Delta(
                {**delta.commit, **ending.commit}, delta.remask | ending.remask, {**delta.revise, **ending.revise}
            )
        canvas.step += 1
        canvas.window_step += 1
        line.refresh.learn(canvas, delta.within(len(canvas)))  # the stop may have cut what was just filled
        if ending is None:
            line.open_window()
            line.others = offered(line, delta, proposal, own)
        return delta, ending is not None or line.window is None

    def _enforce(self, line: Line, delta: Delta, proposal: Proposal, window: Span) -> None:
        """What no order may do."""
        name, order = line.method.order.name, line.method.order
        assert order.revises or not (delta.remask or delta.revise), f"{name} remasks, and does not declare it"
        for position in delta.touched:
            inside = window.start <= position < window.end
            assert inside or order.roams, f"{name} changes position {position}, outside of {tuple(window)}"
        computed = set(proposal.positions.tolist())
        assert computed >= {*delta.commit, *delta.revise}, f"{name} fills positions that were not computed"
        line.spare -= max(0, 1 - len(delta.commit) + len(delta.remask))
        assert line.spare >= 0, f"{name} gets nowhere, or takes more steps than it declares"

    def _apply(self, line: Line, delta: Delta, proposal: Proposal, chosen_from: Proposal) -> None:
        """Change the canvas; given tokens never change. What is reported as the model's own is the proposal's."""
        canvas, row = line.canvas, line.row
        for position, token in (*delta.commit.items(), *delta.revise.items()):
            before = canvas.filled[position]
            assert before == OPEN if position in delta.commit else before >= 0, f"position {position} is not free"
            assert token != self.masking.mask and 0 <= token < self.model.vocabulary, f"{token} fills no position"
        for position in delta.remask:
            assert canvas.filled[position] >= 0, f"position {position} holds nothing to take back"
        canvas.change(delta)
        changes = {**delta.commit, **delta.revise}
        if not changes:
            return
        known = proposal.at(np.fromiter(changes, np.int64))
        tokens = canvas.ids[known.positions]
        agrees = bool((known.tokens == tokens).all())
        canvas.sure[known.positions] = known.confidence("raw") if agrees else known.probability(tokens)
        if row.log_probabilities is not None:
            reports = known.report(tokens.tolist(), row.log_probabilities, chosen_from.at(known.positions))
            line.reports.update(zip(known.positions.tolist(), reports, strict=True))

    def _hand_out(self, line: Line, done: bool) -> list[int]:
        """Give the row what is final: all that stands before the first mask, unless the order may take it back."""
        row, canvas = line.row, line.canvas
        ready = canvas.ready
        if not done and line.method.order.revises:
            ready = line.handed
        elif not done:  # what the next evaluation may fill otherwise is not final
            ready = min([ready, *(other.position for other in line.others)])
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
        return kept

    def _report(self, line: Line, position: int) -> LogProbability:
        """What was certain when the position was filled; of a given token that it was certain."""
        token = int(line.canvas.ids[position])
        if line.canvas.filled[position] == GIVEN:
            return LogProbability(token, 0.0, 0.0)
        return line.reports.get(position) or LogProbability(token, float("nan"), float("nan"))

    def _record(
        self,
        lines: Sequence[Line],
        chains: Sequence[Sequence[Attempt]],
        walked: Sequence[list[Step]],
        seconds: float,
        draft_seconds: float,
    ) -> None:
        """Counters and the trace: a step for each that was taken, the round's time with the first of them."""
        for line, chain, steps in zip(lines, chains, walked, strict=True):
            counters = replace(line.row.counters)
            sights = [sight for attempt in chain for sight in attempt.sights]
            computed = sum(sight.computed for sight in sights)
            counters.rounds += 1
            counters.row_forwards += len(sights) + sum(sight.redone > 0 for sight in sights)
            counters.token_forwards += computed + sum(sight.redone for sight in sights)
            counters.layer_token_forwards += self.model.layers * computed
            counters.layer_token_forwards += sum(sight.layers * sight.redone for sight in sights)
            counters.drafter_calls += line.looking is not None
            counters.drafted += len(chain) - 1 if line.looking is not None else 0
            counters.accepted += len(steps) - 1
            counters.seconds += seconds
            counters.draft_seconds += draft_seconds
            steps[0].seconds, steps[0].draft_seconds = seconds, draft_seconds
            line.row.settle(steps, counters)


def _guided(attempt: Attempt, logits: torch.Tensor) -> torch.Tensor:
    """The logits [n, V] of an attempt's known positions, out of those of all sights, under its row's guidance."""
    parts = [logits[one.start : one.start + len(attempt.ask.known)] for one in attempt.sights]
    return parts[0] if attempt.line.method.guidance is None else attempt.line.method.guidance.guide(*parts)


def _traced(canvas: Canvas, delta: Delta) -> Step:
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

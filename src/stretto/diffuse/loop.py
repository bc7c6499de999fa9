"""The loop of this family: blocks give the window, refresh what to compute, order what to fill, stop when to end.

Each step it evaluates one canvas of each row, and besides it those of steps that a guesser foresees and those that try
another token; then each row takes its step, and further ones as long as they were evaluated already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import numpy as np

from ..context import Context
from ..generation import Step
from ..loop import Loop as Base
from ..models.cache import Cache
from ..models.contract import masking_of
from ..models.store import Store
from ..row import Commit, Row
from .alternatives import offered, settled, variants
from .canvas import Canvas, Delta
from .changing import apply, enforce
from .evaluator import CanvasEvaluator
from .guessing import ahead
from .method import Diffuse
from .predicting import evaluate
from .row_state import RowEvaluation, RowState
from .telling import hand_out, settle, traced
from .views import CanvasMemory, sources


class Loop(Base[Diffuse]):
    """Fills the canvases of several rows together; they join, leave and end at any step."""

    def __init__(self, context: Context, cache: Store, usual: Diffuse | None = None) -> None:
        super().__init__(context, cache)
        masking = masking_of(self.model)
        assert masking is not None, "the method was checked against the model"
        assert isinstance(cache, Cache), "a network that fills masks holds keys and values"
        self.masking = masking
        self.evaluator = CanvasEvaluator(self.model, masking, cache)
        self.usual = usual
        self._states: dict[Row, RowState] = {}

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
        memories = [CanvasMemory(row.cache_row)]
        if work.guidance is not None:
            memories.append(self.evaluator.open())
        self._states[row] = state = RowState(
            row,
            work,
            canvas,
            memories,
            work.order.open(canvas, self.context),
            work.blocks.open(canvas, self.context),
            work.refresh.open(canvas, self.context),
            work.stop.open(canvas, self.context),
            None if work.guesser is None else work.guesser.open(canvas, self.context),
            None if work.adjustment is None else work.adjustment.open(canvas, self.context),
            None if work.kept is None else work.kept.open(canvas, self.context),
            handed=len(row.history.tokens),
        )
        state.open_window()
        row.counters.prompt_tokens = int(canvas.frozen.sum())

    def fork(self, row: Row, copy: Row) -> None:
        state = self._states[row]
        memories = [self.evaluator.fork(memory)[0] for memory in state.memories]
        copy.cache_row = memories[0].row
        self._states[copy] = state.fork(copy, memories)
        self._join(copy, self.works[row])

    def _forget(self, row: Row, work: Diffuse) -> None:
        state = self._states.pop(row, None)
        for memory in [CanvasMemory(row.cache_row)] if state is None else state.memories:
            self.evaluator.close(memory)
        row.cache_row = -1

    def canvas(self, row: Row) -> Canvas:
        """A row's canvas as it stands."""
        return self._states[row].canvas

    # -- one step -----------------------------------------------------------------------------

    def step(self) -> list[Commit]:
        """One step of all rows, and those after it that a guesser foresaw. Finished rows leave."""
        begun = perf_counter()
        states = [self._states[row] for row in self.rows]
        chains = [self._chain(state) for state in states]
        guessed = any(state.guesser is not None for state in states)
        guess_seconds = perf_counter() - begun if guessed else 0.0
        for wave in _waves(chains):
            evaluate(self.evaluator, wave)
        commits, walked = [], []
        for state, chain in zip(states, chains, strict=True):
            commit, steps = self._walk(state, chain)
            commits.append(commit)
            walked.append(steps)
        seconds = perf_counter() - begun
        for state, chain, steps in zip(states, chains, walked, strict=True):
            steps[0].seconds, steps[0].draft_seconds = seconds, guess_seconds
            settle(state, chain, steps, self.model)
        for state in states:
            if state.row.finish:
                self.remove(state.row)
        return commits

    def _chain(self, state: RowState) -> list[RowEvaluation]:
        """What to evaluate for a row: what it needs, the same with other tokens, and what it may need next."""
        first, state.asked = state.asked or state.needs(), None
        chain = [RowEvaluation(state, first, state.memories)]
        for needs in (*variants(state, first), *ahead(state, first)):
            memories = []
            for memory in state.memories:  # nothing is copied where everything is computed anyway
                blank = not needs.plan.reuse and bool(np.isin(memory.held, needs.computed.rows).all())
                memories.append(self.evaluator.open() if blank else self.evaluator.fork(memory)[0])
            chain.append(RowEvaluation(state, needs, memories))
        return chain

    def _walk(self, state: RowState, chain: Sequence[RowEvaluation]) -> tuple[Commit, list[Step]]:
        """Take the step that was asked for, and go on as long as the next one was evaluated already."""
        kept: list[int] = []
        steps: list[Step] = []
        left = [settled(state, chain)] if state.others else list(chain)
        while True:
            current = left.pop(0)
            state.memories, state.row.cache_row = current.memories, current.memories[0].row
            delta, done = self._change(state, current, left)
            kept += hand_out(state, done)
            steps.append(traced(state.canvas, delta))
            if state.guesser is None or state.row.finish:
                break
            state.said = current.prediction
            state.asked = state.needs()
            while left and not self._answers(left[0], state):
                left.pop(0)
            if not left:
                break
            state.asked = None
        for evaluation in chain:
            if evaluation.memories is not state.memories:
                for memory in evaluation.memories:
                    self.evaluator.close(memory)
        if state.guesser is not None:
            state.guesser.learn(len(chain) - 1, len(steps) - 1)
        return Commit(state.row, kept, [""] * len(kept)), steps

    def _answers(self, evaluation: RowEvaluation, state: RowState) -> bool:
        """Whether what was evaluated ahead is what the row needs now, down to what is held of its canvas."""
        needs = state.asked
        assert needs is not None
        if not evaluation.needs.answers(needs):
            return False
        rows = np.union1d(needs.plan.rows, sources(self.masking, needs.wanted))
        held = np.union1d(np.setdiff1d(state.memories[0].held, needs.plan.forget), rows)
        return np.array_equal(np.sort(evaluation.memories[0].held), held[held < len(state.canvas)])

    def _change(self, state: RowState, evaluation: RowEvaluation, left: Sequence[RowEvaluation]) -> tuple[Delta, bool]:
        """Let the order fill and the stop judge; what changed, and whether the row's canvas is done.

        `left`: what was evaluated ahead.
        """
        canvas, window = state.canvas, state.window
        assert window is not None and evaluation.prediction is not None
        state.refresh.read(canvas, evaluation.outputs[0].seen)
        prediction = state.drawn(evaluation.prediction, evaluation.needs.draw).at(state.wanted(window))
        own, delta = state.choose(prediction)
        if state.guesser is not None and left:
            delta = state.guesser.take(canvas, delta, [each.needs.canvases[0] for each in left])
        enforce(state, delta, own, state.window or window)  # settled by now
        apply(state, delta, prediction, own, self.model.vocabulary)
        ending = state.stop.ended(canvas, prediction)
        if ending is not None:
            apply(state, ending, prediction, prediction, self.model.vocabulary)
            delta = delta.then(ending)
        canvas.step += 1
        canvas.window_step += 1
        state.refresh.learn(canvas, delta.within(len(canvas)))  # the stop may have cut what was just filled
        if ending is None:
            state.open_window()
            state.others = offered(state, delta, prediction, own)
        return delta, ending is not None or state.window is None


def _waves(chains: Sequence[Sequence[RowEvaluation]]) -> list[list[RowEvaluation]]:
    """What is evaluated together: everything, or the first of all rows, then what is ahead, one by one."""
    first: list[RowEvaluation] = []
    later: list[list[RowEvaluation]] = []
    for chain in chains:
        guesser = chain[0].state.method.guesser
        at_once = len(chain) if guesser is None or guesser.together else 1
        first += chain[:at_once]
        later += [[evaluation] for evaluation in chain[at_once:]]
    return [first, *later]

"""The one loop: propose, evaluate, accept, advance. No drafter is plain decoding: an empty tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from ..context import Context
from ..entry import Guarantee
from ..generation import LogProbability, Step
from ..models.cache import Cache
from ..models.clock import stopwatch
from ..models.contract import NOTHING, Evaluation, Want
from ..models.reading import read
from ..models.window import Window
from ..row import Commit, Row, reported
from ..tree import ROOT, Tree
from ..values import Checked
from .contract import NO_ROOM, Acceptor, Drafter, Drafting, Outcome, Planner, Planning, Room, Session, Target, Verdict


@dataclass(frozen=True, slots=True)
class Speculate(metaclass=Checked):
    """The parts of one decode of this family; `draft=None` decodes plainly."""

    draft: Drafter | None
    accept: Acceptor
    plan: Planner

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return Guarantee.EXACT if self.draft is None else self.accept.guarantee

    def repeats(self, greedy: bool) -> bool:
        """Whether the same call gives the same tokens again, at temperature 0 (`greedy`) or with the same seed.

        What is drafted changes the tokens where the acceptor has a rule of its own, and lengths that are measured are
        not the same twice.
        """
        own = self.guarantee is not Guarantee.EXACT and not (greedy and self.guarantee is Guarantee.DISTRIBUTION)
        return not own or self.plan.repeats

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of one decode."""
        return Loop(context, self, cache)


class Loop:
    """Decodes rows of one model together; they accept independently, join and leave at any round."""

    def __init__(self, context: Context, method: Speculate, cache: Cache) -> None:
        self.model = context.target
        self.method = method
        self.cache = cache
        self.rows: list[Row] = []
        self._drafting: Drafting | None = None
        self._planning: Planning | None = None
        if method.draft is not None:
            if method.accept.guarantee is not Guarantee.EXACT:
                context = replace(context, steady=True)
            self._drafting = method.draft.begin(context)
            self._planning = method.plan.begin(context, self._drafting)
        self._sessions: dict[Row, Session] = {}
        self._now = stopwatch(self.model.device)
        self._resting = False  # the drafter, in this round

    # -- rows ---------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """Evaluate a row's prompt up to its last token, which becomes the first root, and let it join."""
        begun = perf_counter()
        session = self._drafting.open(row) if self._drafting else None
        primed = self._drafting is not None and self._drafting.primed
        want = Want() if primed else NOTHING
        for evaluation, start in read(self.model, self.cache, row.cache_row, row.history.tokens[:-1], want):
            if session is not None and evaluation.logits is not None:
                session.prime(evaluation.logits[0], start)
        if session is not None:
            self._sessions[row] = session
        self._join(row)
        row.counters.prompt_tokens = len(row.history.tokens)
        row.counters.prompt_seconds = perf_counter() - begun

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as a continuation of what `row` holds now; its history is a copy of the row's."""
        copy.cache_row = self.cache.fork(row.cache_row)[0]
        if row in self._sessions:
            self._sessions[copy] = self._sessions[row].fork(copy)
        self._join(copy)

    def remove(self, row: Row) -> None:
        """Let a row leave, finished or not."""
        if row in self._sessions:
            self._sessions.pop(row).close()
        place = self.cache.place_of(row.cache_row)
        self.cache.free(row.cache_row)
        moved = self.rows.pop()  # the cache does the same: the last one comes in the place of the one that leaves
        if moved is row:
            return
        at = place if place < len(self.rows) and self.rows[place] is row else self.rows.index(row)
        self.rows[at] = moved
        if self.cache.place_of(moved.cache_row) != at:  # the cache holds rows of others
            self._sort()

    def _join(self, row: Row) -> None:
        self.rows.append(row)
        if self.cache.place_of(row.cache_row) != len(self.rows) - 1:
            self._sort()

    def _sort(self) -> None:
        """Rows stand as in the cache's blocks, so that a batch is read without copying."""
        self.rows.sort(key=lambda row: self.cache.place_of(row.cache_row))

    # -- one round ----------------------------------------------------------------------------

    def step(self) -> list[Commit]:
        """One round of all rows. Finished rows leave."""
        begun, asked = perf_counter(), self._now()
        rows = self.rows
        proposed, trees = self._propose()
        drafted, own = perf_counter(), self._now()
        evaluation = self._evaluate(trees)
        target = Target(rows, trees, evaluation)
        verdicts = self.method.accept.accept(target)
        judged = (self._now() - own) / len(rows)
        commits, outcomes = [], []
        for at, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
            commit, outcome = self._commit(target, at, row, verdict)
            outcome.seconds = judged
            commits.append(commit)
            outcomes.append(outcome)
        self._teach(rows, proposed, outcomes, evaluation, own - asked)
        self._record(rows, commits, outcomes, perf_counter() - begun, drafted - begun)
        for row in [row for row in rows if row.finish]:
            self.remove(row)
        return commits

    def _propose(self) -> tuple[list[Tree], list[Tree]]:
        """What the drafter proposed, and what of it is verified."""
        if self._drafting is None or self._planning is None:
            empty = [Tree() for _ in self.rows]
            return empty, empty
        wished = self._planning.rooms(self.rows)
        self._resting = self._drafting.rests(wished)
        if self._resting:
            empty = [Tree() for _ in self.rows]
            return empty, empty
        rooms = [self._fitting(row, room) for row, room in zip(self.rows, wished, strict=True)]
        proposed = self._drafting.propose([self._sessions[row] for row in self.rows], rooms)
        return proposed, self._planning.trim(self.rows, proposed)

    def _fitting(self, row: Row, room: Room) -> Room:
        """No deeper than the row can still commit, nor than the model has positions."""
        depth = min(room.depth, row.remaining - 1, self.model.max_positions - len(row.history.tokens))
        if depth <= 0 or room.nodes <= 0:
            return NO_ROOM
        return room if depth == room.depth else replace(room, depth=depth)

    def _evaluate(self, trees: Sequence[Tree]) -> Evaluation:
        """One window for all rows, trees padded side by side: logits [B, 1 + D, V]."""
        window = Window.forest(
            [row.cache_row for row in self.rows],
            [row.root for row in self.rows],
            trees,
            [len(row.history.tokens) - 1 for row in self.rows],
            self.model.device,
        )
        want = Want(hidden=self._drafting.hidden) if self._drafting else Want()
        return self.model.evaluate(window, self.cache, want)

    def _commit(self, target: Target, at: int, row: Row, verdict: Verdict) -> tuple[Commit, Outcome]:
        """Make the verdict final: cut it where the row ends, keep its slots of the cache."""
        tree = target.trees[at]
        start = len(row.history.tokens) - 1  # the root's slot
        nodes = verdict.path
        tokens = [tree.tokens[node] for node in nodes] + [verdict.extra]
        if row.log_probabilities is not None:
            parents = [ROOT, *nodes]
            found = [self._report(target, at, row, p, t) for p, t in zip(parents, tokens, strict=True)]
        kept = row.advance(tokens)
        if row.log_probabilities is not None:
            row.reported.extend(found[: len(kept)])
        path = nodes[: len(kept)]
        self.cache.keep(row.cache_row, start, [start, *(start + 1 + node for node in nodes)])
        sources = [tree.sources[node] for node in path] + [""] * (len(kept) - len(path))
        return Commit(row, kept, sources), Outcome(tree, path, kept)

    def _report(self, target: Target, at: int, row: Row, parent: int, token: int) -> LogProbability:
        """Both log-probabilities of the token chosen after `parent`."""
        raw, steered = target.raw(at, parent)[None], target.steered(at, parent)[None]
        return reported([token], raw, steered, row.log_probabilities or 0)[0]

    def _teach(
        self,
        rows: Sequence[Row],
        proposed: Sequence[Tree],
        outcomes: Sequence[Outcome],
        evaluation: Evaluation,
        draft_seconds: float,
    ) -> None:
        """Everyone learns the outcome."""
        if self._drafting is None or self._planning is None or self._resting:
            return
        for at, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
            if self._drafting.observes and evaluation.logits is not None:
                outcome.logits = evaluation.logits[at, : 1 + len(outcome.tree)]
            for layer in self._drafting.hidden:
                outcome.hidden[layer] = evaluation.hidden[layer][at, : 1 + len(outcome.tree)]
            outcome.missed = self._sessions[row].missed()
            self._sessions[row].advance(outcome)
            self._planning.learn(row, proposed[at], outcome, draft_seconds / len(rows))

    def _record(
        self,
        rows: Sequence[Row],
        commits: Sequence[Commit],
        outcomes: Sequence[Outcome],
        seconds: float,
        draft_seconds: float,
    ) -> None:
        """Counters and the trace."""
        for row, commit, outcome in zip(rows, commits, outcomes, strict=True):
            tree = outcome.tree
            step = Step(
                position=len(row.history.tokens) - len(commit.tokens),
                committed=commit.tokens,
                sources=commit.sources,
                drafted=tree.tokens,
                parents=tree.parents,
                drafters=tree.sources,
                accepted=outcome.path,
                seconds=seconds,
                draft_seconds=draft_seconds,
            )
            row.record(step, self.model.layers, [1 + len(tree)], drafter_calls=self._drafting is not None)

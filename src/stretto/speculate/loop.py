"""The one loop: propose, evaluate, accept, advance. No drafter is plain decoding: an empty tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from time import perf_counter
from typing import Any, ClassVar

from ..constrain.contract import Constraint
from ..constrain.meanwhile import meanwhile
from ..context import Context
from ..entry import Guarantee
from ..generation import LogProbability, Step
from ..loop import Loop as Base
from ..loop import Method
from ..models.contract import Evaluation, Want
from ..models.edits import edit
from ..models.machine import stopwatch
from ..models.reading import read, whole
from ..models.store import Store
from ..models.window import Window
from ..row import Commit, Row, reported
from ..steer.contract import Steer
from ..tree import ROOT, Tree
from .companions import Companions
from .contract import NO_ROOM, Acceptor, Drafter, Outcome, Planner, Room, Target, Verdict
from .work import Share, Work, part_of, row_of


@dataclass(frozen=True, slots=True)
class Speculate(Method):
    """The parts of one decode of this family; `draft=None` decodes plainly."""

    draft: Drafter | None
    accept: Acceptor
    plan: Planner
    steers: tuple[Steer, ...] = ()  # beside those of the request
    constraint: Constraint | None = None  # what every answer obeys
    pictures: ClassVar[bool] = True

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

    def loop(self, context: Context, cache: Store) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        return Loop(context, cache, self)


class Loop(Base[Work]):
    """Decodes rows of one model together; they accept independently, join and leave at any round."""

    def __init__(self, context: Context, cache: Store, usual: Speculate | None = None) -> None:
        super().__init__(context, cache)
        self._now = stopwatch(self.model.device)
        self._companions: Companions | None = None  # once a row has some
        self.usual = None if usual is None else self.begin(usual)

    def _work(self, method: Speculate) -> Work:
        return Work(self.context, method)

    # -- rows ---------------------------------------------------------------------------------

    def _read(self, row: Row, work: Work, size: Callable[[], int] = whole) -> Iterator[None]:
        """Evaluate what is not read of a row's text up to its last token, which becomes the first root."""
        if row.rule.pipeline.companions:
            self._companions = self._companions or Companions(self.context)
            self._companions.add(row)
        session, want = work.open(row), work.of_prompt
        aids: Any = {"edits": row.edits, "pictures": row.history.pictures}
        tokens = row.history.tokens[:-1]
        known = tokens[: self.cache.following(row.cache_row)]
        if session is not None and want and not session.knows(known):
            self.cache.truncate(row.cache_row, 0)  # what it wants of a token that was read before is gone
        unread = tokens[self.cache.following(row.cache_row) :]
        for evaluation, start in read(self.model, self.cache, row.cache_row, unread, want, size=size, **aids):
            if session is not None and want:
                session.prime(row_of(evaluation, 0), start)
            if self.cache.following(row.cache_row) < len(tokens):
                yield

    def fork(self, row: Row, copy: Row) -> None:
        copy.cache_row = self.cache.fork(row.cache_row, fixed=len(row.history.tokens) - 1)[0]
        if self._companions is not None:
            self._companions.fork(row, copy)
        self.works[row].fork(row, copy)
        self._join(copy, self.works[row])

    def remove(self, row: Row) -> None:
        place = self.cache.place_of(row.cache_row)
        self._forget(row, self.works.pop(row))
        moved = self.rows.pop()  # the cache does the same: the last one comes in the place of the one that leaves
        if moved is row:
            return
        at = place if place < len(self.rows) and self.rows[place] is row else self.rows.index(row)
        self.rows[at] = moved
        if self.cache.place_of(moved.cache_row) != at:  # the cache holds rows of others
            self._sort()

    def _forget(self, row: Row, work: Work) -> None:
        work.close(row)
        if self._companions is not None:
            self._companions.remove(row)
        super()._forget(row, work)

    def _join(self, row: Row, work: Work) -> None:
        super()._join(row, work)
        if self.cache.place_of(row.cache_row) != len(self.rows) - 1:
            self._sort()

    def _sort(self) -> None:
        """Rows stand as in the cache's blocks, so that a batch is read without copying."""
        self.rows.sort(key=lambda row: self.cache.place_of(row.cache_row))

    def resumes(self, work: Work) -> bool:
        """What a drafter would have proposed is nothing that the tokens depend on."""
        return work.method.guarantee is Guarantee.EXACT

    # -- one round ----------------------------------------------------------------------------

    def step(self) -> list[Commit]:
        begun = perf_counter()
        rows = self._ready()
        shares = self._shares(rows)
        trees = self._propose(shares, len(rows))
        drafted, own = perf_counter(), self._now()
        evaluation = self._evaluate(rows, trees, shares)
        done = self._judge(rows, trees, shares, evaluation)
        judged = self._now() - own
        if any(share.work.planning is not None for share in shares):
            self.context.clock.learn([1 + len(tree) for tree in trees], judged)
        for share in shares:
            share.teach(done, evaluation, judged / len(rows))
        self._record(done, perf_counter() - begun, drafted - begun)
        for row in [row for row in self.rows if row.finish]:
            self.remove(row)
        return [commit for commit, _ in done.values()]

    def _ready(self) -> list[Row]:
        """The rows that take part in this round."""
        return list(self.rows)

    def _shares(self, rows: Sequence[Row]) -> list[Share]:
        """The rows of each method."""
        shares: dict[Work, Share] = {}
        for place, row in enumerate(rows):
            work = self.works[row]
            share = shares.get(work) or shares.setdefault(work, Share(work))
            share.places.append(place)
            share.rows.append(row)
        return list(shares.values())

    def _propose(self, shares: Sequence[Share], size: int) -> list[Tree]:
        """What is verified of what the drafters propose, by the rows' places."""
        trees = [Tree()] * size
        for share in shares:
            asked = self._now()
            share.propose(self._fitting)
            share.seconds = self._now() - asked
            for place, tree in zip(share.places, share.trees, strict=True):
                trees[place] = tree
        return trees

    def _fitting(self, row: Row, room: Room) -> Room:
        """No deeper than the row can still commit, nor than the model has positions."""
        depth = min(room.depth, row.remaining - 1, self.model.max_positions - len(row.history.tokens), self.cache.span)
        if depth <= 0 or room.nodes <= 0:
            return NO_ROOM
        return room if depth == room.depth else replace(room, depth=depth)

    def _evaluate(self, rows: Sequence[Row], trees: Sequence[Tree], shares: Sequence[Share]) -> Evaluation:
        """One window for all rows, trees padded side by side: logits [B, 1 + D, V]."""
        window = Window.forest(
            [row.cache_row for row in rows],
            [row.root for row in rows],
            trees,
            [len(row.history.tokens) - 1 for row in rows],
            self.model.device,
        )
        if any(row.rule.pipeline.edits for row in rows):
            edit(window, [row.edits for row in rows])
        wants = [share.work.want for share in shares]
        wants += [row.rule.pipeline.wants for row in rows if row.rule.pipeline.aided]
        asked = [(held, row.history.tokens, tree) for row, tree in zip(rows, trees, strict=True) if (held := row.held)]
        with meanwhile(asked) if asked else nullcontext():
            return self.model.evaluate(window, self.cache, reduce(Want.beside, wants, Want()))

    def _judge(
        self, rows: Sequence[Row], trees: Sequence[Tree], shares: Sequence[Share], evaluation: Evaluation
    ) -> dict[Row, tuple[Commit, Outcome]]:
        """What becomes of every row's tree; rows of one acceptor are judged together, whatever drafts for them."""
        panels: dict[Acceptor, list[int]] = {}
        for share in shares:
            panels.setdefault(share.work.method.accept, []).extend(share.places)
        done: dict[Row, tuple[Commit, Outcome]] = {}
        said = {} if self._companions is None else self._companions.evaluate(rows, trees)
        for acceptor, places in panels.items():
            places.sort()
            part = part_of(evaluation, places, len(rows))
            heard = {companion: logits[places] for companion, logits in said.items()}
            target = Target([rows[place] for place in places], [trees[place] for place in places], part, heard)
            for at, row, verdict in self._verdicts(acceptor, target, shares):
                done[row] = self._commit(target, at, row, verdict)
        return done

    def _verdicts(self, acceptor: Acceptor, target: Target, shares: Sequence[Share]) -> list[tuple[int, Row, Verdict]]:
        """What is committed to which row, with the number of the tree that it comes from."""
        return [(at, target.rows[at], verdict) for at, verdict in enumerate(acceptor.accept(target))]

    def _commit(self, target: Target, at: int, row: Row, verdict: Verdict) -> tuple[Commit, Outcome]:
        """Make the verdict final: cut it where the row ends, keep its slots of the cache."""
        tree = target.trees[at]
        start = self.cache.length(row.cache_row) - 1 - len(tree)  # the root's slot
        nodes = verdict.path
        tokens = [tree.tokens[node] for node in nodes] + [verdict.extra]
        if row.log_probabilities is not None:
            found = [self._report(target, at, row, p, t) for p, t in zip([ROOT, *nodes], tokens, strict=True)]
        kept = row.advance(tokens, [tree.sources[node] for node in nodes])
        if row.log_probabilities is not None:
            row.reported.extend(found[: len(kept)])
        path = nodes[: len(kept) - row.paused]  # a row that goes on has its last token yet to be evaluated
        held = nodes[: len(kept) - 1]
        if self._companions is not None:
            self._companions.keep(row, held)
        if len(held) < len(tree):
            self.cache.keep(row.cache_row, start, [start, *(start + 1 + node for node in held)])
        return Commit(row, kept, row.sources[-len(kept) :]), Outcome(tree, path, kept)

    def _report(self, target: Target, at: int, row: Row, parent: int, token: int) -> LogProbability:
        """Both log-probabilities of the token chosen after `parent`."""
        raw, steered = target.raw(at, parent)[None], target.steered(at, parent)[None]
        return reported([token], raw, steered, row.log_probabilities or 0)[0]

    def _record(self, done: Mapping[Row, tuple[Commit, Outcome]], seconds: float, draft_seconds: float) -> None:
        """Counters and the trace."""
        for commit, outcome in done.values():
            row, tree = commit.row, outcome.tree
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
            tokens = 1 + len(tree) + self.cache.again.get(row.cache_row, 0)
            row.record(step, self.model.layers, [tokens], self.works[row].drafting is not None)

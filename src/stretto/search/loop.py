"""The loop of this family: the search grows branches; rows get what all surviving branches agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..constrain.contract import Constraint
from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..generation import Counters, Step
from ..loop import Loop as Base
from ..loop import Method
from ..models.contract import Model
from ..models.store import Store
from ..row import Commit, Row
from ..speculate.acceptors.exact import Exact
from ..speculate.loop import Speculate
from ..speculate.planners.fixed import Fixed
from ..speculate.work import Work as Drafting
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching

UNDRAFTED = Speculate(draft=None, accept=Exact(), plan=Fixed(1))


@dataclass(frozen=True, slots=True)
class Searched(Method):
    """The parts of a method of this family."""

    search: Search
    steers: tuple[Steer, ...] = ()  # beside those of the request
    constraint: Constraint | None = None  # what every answer obeys
    drafts: Speculate = UNDRAFTED  # for its branches

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return self.search.guarantee

    @property
    def pictures(self) -> bool:  # type: ignore[override]  # a family's own, else of all its methods
        """Whether prompts may have pictures or a source."""
        return self.search.pictures

    def rows(self, samples: int) -> int:
        """How many rows of the cache one prompt takes at most."""
        return self.search.rows(samples)

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the search cannot serve."""
        if self.constraint is not None and (self.search.writes or not self.search.forks):
            raise Unsupported(
                f"{self.constraint.name} keeps an answer valid token by token, which {self.search.name!r} cannot",
                hint="leave it out; 'plain' and methods that draft obey it",
            )
        self.search.check(model, pipeline, samples)
        if self.drafts.accept.guarantee is not Guarantee.EXACT:
            raise Unsupported(
                f"the acceptor {self.drafts.accept.name!r} would change the branches of {self.search.name!r}",
                hint="leave it out: drafts of a search are accepted exactly",
            )

    def loop(self, context: Context, cache: Store) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        return Loop(context, cache, self)


@dataclass(eq=False)
class Work:
    """A method at work."""

    method: Searched
    searching: Searching
    drafting: Drafting


class Loop(Base[Work]):
    """Decodes groups of rows together. The branches of all groups stand in one loop of drafting, `branches`."""

    def __init__(self, context: Context, cache: Store, usual: Searched | None = None) -> None:
        super().__init__(context, cache)
        self.branches = Branches(context, cache)
        self._groups: dict[Row, Group] = {}
        self._before: dict[Row, Counters] = {}  # what a row had taken before it was searched for
        self.usual = None if usual is None else self.begin(usual)

    def _work(self, method: Searched) -> Work:
        drafting = self.branches.begin(method.drafts)
        return Work(method, method.search.begin(self.context, self.branches), drafting)

    def _read(self, row: Row, work: Work, size: Callable[[], int]) -> Iterator[None]:
        """Let the first branch read the row's prompt, and begin a group with it."""
        _ = row.held  # opened here, it is told of all that its judge does for the branches
        first = row.fork(row.rule)
        first.cache_row = row.cache_row
        if work.method.search.hears and first.log_probabilities is None:
            first.log_probabilities = 0
        group = Group([row], first)
        yield from self.branches.read(first, work.drafting, size)
        self.branches.take(first, group, work.searching)
        self._groups[row] = group

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as one more answer to the same prompt; only before the first round."""
        group = self._groups[row]
        if group.counters.rounds:
            raise Unsupported("the search has begun", hint="fork rows before the first round")
        group.rows.append(copy)
        self._groups[copy] = group
        self._join(copy, self.works[row])

    def kin(self, row: Row) -> list[Row]:
        return list(self._groups[row].rows) if row in self._groups else [row]

    def _join(self, row: Row, work: Work) -> None:
        super()._join(row, work)
        row.cache_row = -1  # it is its first branch's

    def _forget(self, row: Row, work: Work) -> None:
        row.cache_row = -1
        group = self._groups.pop(row, None)
        self._before.pop(row, None)
        if group is not None:
            group.rows.remove(row)
            if not group.rows:
                self.branches.drop(group)

    def hand_over(self, row: Row) -> None:
        """The best there is, to this row alone."""
        group = self._groups[row]
        self.works[row].searching.rank(group)
        branch = group.best[group.rows.index(row)]
        self._hand(group, row, branch, len(branch.tokens))

    def step(self) -> list[Commit]:
        groups = {group: self.works[row] for row in self.rows if (group := self._groups[row]).rows[0] is row}
        for work in dict.fromkeys(groups.values()):
            work.searching.grow([group for group in groups if groups[group] is work])
        if self.branches.ready:
            self.branches.step()
        commits: dict[Row, Commit] = {}
        for group, work in groups.items():
            work.searching.settle(group)
            if not group.ended and work.method.search.within.spent(group.counters):
                work.searching.rank(group)
                group.ended = group.cut = True
            commits |= self._hand_out(group)
        ordered = [commits[row] for row in self.rows]
        for row in [row for row in self.rows if row.finish]:
            self.remove(row)
        return ordered

    def _hand_out(self, group: Group) -> dict[Row, Commit]:
        """Give the rows what is certain: at the end everything, before it what all branches share."""
        end = None if group.ended else agreed([*group.alive, *group.finished], group.handed)
        handed = {
            row: self._hand(group, row, branch, len(branch.tokens) if end is None else end)
            for row, branch in zip(group.rows, group.best, strict=True)
        }
        group.handed = group.handed if end is None else end
        for row in group.rows if group.ended else ():
            row.finish = row.finish or ("budget" if group.cut else None)
            assert row.finish, "a search ended before its answers did"
        return handed

    def _hand(self, group: Group, row: Row, branch: Branch, end: int) -> Commit:
        """Commit a branch's tokens up to number `end` that the row does not hold yet, and book the round."""
        held = len(row.new_tokens)
        kept = row.advance(branch.tokens[held:end], branch.sources[held:end]) if end > held else []
        sources = row.sources[held:]
        if row.log_probabilities is not None:
            row.reported.extend(branch.reports[held : held + len(kept)])
        counters = replace(self._before.setdefault(row, row.counters))
        # What the group took is told by one row, so that sums over rows are true.
        taken = group.counters
        counters.add(taken if row is group.rows[0] else Counters(rounds=taken.rounds, seconds=taken.seconds))
        counters.layer_token_forwards = self.model.layers * counters.token_forwards
        seconds = counters.seconds - row.counters.seconds
        first = len(row.history.tokens) - len(kept)
        steps = [Step(position=first, committed=kept, sources=sources, seconds=seconds)] if kept else []
        row.settle(steps, counters)
        return Commit(row, kept, sources)


def agreed(branches: Sequence[Branch], start: int) -> int:
    """How many first tokens all branches share, of which `start` are known to be shared."""
    first = branches[0].tokens
    end = min(len(branch.tokens) for branch in branches)
    at = start
    while at < end and all(branch.tokens[at] == first[at] for branch in branches):
        at += 1
    return at

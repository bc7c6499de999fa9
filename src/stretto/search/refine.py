"""Refining: answer, let a critic look at the answer, and answer anew with what it says in view; keep the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from ..context import Context
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..row import Limits, Row
from ..speculate.work import Work
from ..steer.path import History
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .critic import STOP, Advice, Attempt, Critic
from .critics.again import AGAIN
from .scorer import Draft, Judged, Scorer
from .scorers.likelihood import LIKELIHOOD
from .texts import tokens_of
from .within import UNBOUNDED, Within


@dataclass(frozen=True, slots=True)
class Refine(Search):
    """Several answers, each from what the model sees of those before it and of what the critic said.

    One round is plain decoding. Of as many answers that know nothing of each other, `best-of` keeps the best: compare
    with that. It ends where the critic does, after `rounds`, or where a model has no positions left.
    """

    rounds: int = 3  # answers of one path at most, ≥ 1
    critic: Critic = AGAIN  # looks at each answer but the last
    scorer: Scorer = LIKELIHOOD  # verifies answers; of equal ones of a path the later one is better
    keep: Literal["best", "last"] = "best"  # which answer of a path counts
    show: Literal["all", "last", "extremes"] = "all"  # which of its answers the model sees; the best, then the worst
    paths: int = 1  # ≥ 1, side by side, each with chance of its own; no fewer than answers are asked for
    first: int = 0  # tokens of an answer that is not its path's last, at most; 0: as many as of the last
    within: Within = UNBOUNDED

    name: ClassVar[str] = "refine"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.paths < 1 or self.first < 0:
            raise InvalidRequest(
                f"{self.rounds} rounds on {self.paths} paths, first {self.first}",
                hint="rounds and paths are at least 1, first at least 0",
            )

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy and max(self.paths, samples) > 1:
            raise Unsupported("refine has several paths, and without chance all are one", hint="temperature=1")

    def rows(self, samples: int) -> int:
        return max(self.paths, samples) * self.rounds  # a path takes as much as so many answers

    @property
    def hears(self) -> bool:
        return self.scorer.hears

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Refining(self, context, branches)


@dataclass(slots=True, eq=False)
class Path(Branch):
    """One path: the branch itself is the answer that is being written."""

    seen: tuple[int, ...] = ()  # what the model saw when it began it
    attempts: list[Branch] = field(default_factory=list)  # all whole answers
    standing: list[tuple[Attempt, str]] = field(default_factory=list)  # those that led here, and what was said to each
    over: bool = False


class Refining(Searching):
    """Refining at work."""

    def __init__(self, search: Refine, context: Context, branches: Branches) -> None:
        self.search, self.context, self.branches = search, context, branches
        self.judged = Judged(search.scorer, context)
        self.critique = search.critic.begin(context)
        self.drafting: Work | None = None  # what drafts for all branches

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            self.drafting = self.branches.works[group.first]
            group.streams = max(self.search.paths, group.wanted)
            rows = self.branches.spread(group.first, group)
            for row in rows:
                row.limits = self._limits(group, 0, len(row.history.tokens))
            unknown = Branch(worth=-math.inf, number=group.streams)  # keeps what is uncertain from being handed out
            seen = tuple(group.first.history.tokens)
            group.alive = [*(Path(row=row, number=at, seen=seen) for at, row in enumerate(rows)), unknown]

    def settle(self, group: Group) -> None:
        paths = [branch for branch in group.alive if isinstance(branch, Path)]
        for path in paths:
            path.catch_up()
        for path in [path for path in paths if path.row is None and not path.over]:
            advice = self._look(group, path)
            path.over = advice.action == "stop" or not self._begin(group, path, advice)
        if paths and all(path.over for path in paths):
            self.rank(group)
            group.alive, group.ended = [], True

    def rank(self, group: Group) -> None:
        """Of every path the answer that counts; of one that has none yet, what there is."""
        paths = [branch for branch in group.alive if isinstance(branch, Path)]
        group.finished = [self._kept(path) for path in paths if path.attempts]
        for path in paths:
            path.worth = -math.inf if path.attempts else self._worth(group, path, whole=False)
        most = group.rows[0].limits.new_tokens
        group.cut |= any(each.finish == "length" and len(each.tokens) < most for each in group.finished)

    def _kept(self, path: Path) -> Branch:
        last = path.attempts[-1]
        if self.search.keep == "last":
            return last
        return max(path.attempts, key=lambda each: (each.worth, path.attempts.index(each)))

    def _look(self, group: Group, path: Path) -> Advice:
        """Judge a whole answer, and hear what the critic says where there may be another one."""
        attempt = Branch(path.tokens, reports=path.reports, sources=path.sources, number=path.number)
        attempt.finish, attempt.worth = path.finish, self._worth(group, path, whole=True)
        path.attempts.append(attempt)
        if len(path.attempts) == self.search.rounds:
            return STOP
        draft = Draft(self._prompt(group), tuple(path.tokens), path.reports, self.context.decode)
        ended = path.tokens[-1:] if path.finish == "end" else []
        answer = path.tokens[:-1] if set(ended) & group.first.limits.ends else path.tokens
        path.standing.append((Attempt(draft, attempt.worth, path.seen, tuple(answer)), ""))
        return self.critique.advise([each for each, _ in path.standing])

    def _begin(self, group: Group, path: Path, advice: Advice) -> bool:
        """Let a path begin its next answer; False where the model has no positions left for one."""
        told: list[int] = tokens_of(advice.text, self.context.encode)
        if advice.action == "afresh":
            path.standing = []
        elif advice.action == "back" and len(path.standing) > 1:
            path.standing.pop()
        seen = [*self._prompt(group)]
        if path.standing:
            path.standing[-1] = path.standing[-1][0], advice.text
        for attempt, said in self._shown(path.standing):
            seen += [*attempt.answer, *tokens_of(said, self.context.encode)]
        seen += [] if path.standing else told
        first, round_ = group.first, len(path.attempts)
        if len(seen) >= self.context.target.max_positions:
            return False
        rule = replace(first.rule, stream=path.number + round_ * group.streams)
        row = Row(History(seen), -1, rule, self._limits(group, round_, len(seen)), first.stoppers)
        row.log_probabilities = first.log_probabilities
        assert self.drafting is not None, "the first answers were drafted for"
        self.branches.plant(row, self.drafting, group, self)
        path.row, path.seen, path.finish, path.tokens = row, tuple(seen), None, []
        return True

    def _shown(self, standing: Sequence[tuple[Attempt, str]]) -> Sequence[tuple[Attempt, str]]:
        """Of the answers that stand, oldest first, those that the model sees, with what was said to each."""
        if self.search.show == "last":
            return standing[-1:]
        if self.search.show == "all" or len(standing) < 2:
            return standing
        ranked = sorted(standing, key=lambda each: each[0].worth)  # of equal ones the older one first
        return ranked[-1], ranked[0]

    def _limits(self, group: Group, round_: int, read: int) -> Limits:
        """Of an answer behind so many tokens."""
        limits = group.rows[0].limits
        most = min(limits.new_tokens, self.context.target.max_positions - read)
        last = round_ + 1 == self.search.rounds or not self.search.first
        return Limits(most if last else min(most, self.search.first), limits.ends)

    def _worth(self, group: Group, branch: Branch, whole: bool) -> float:
        (worth,) = self.judged.values(group, [branch], whole)
        return worth

    def _prompt(self, group: Group) -> tuple[int, ...]:
        history = group.first.history
        return tuple(history.tokens[: history.prompt_length])

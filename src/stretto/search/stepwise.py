"""Searches that choose each next token of all branches together, from what the model says after each.

Where branches are drafted for, a round goes down their trees as long as every branch that goes on stands on a drafted
token: the same choices, in fewer rounds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from ..context import Context
from ..errors import Unsupported
from ..models.contract import Model
from ..row import Row
from ..speculate.contract import Verdict
from ..speculate.target import Target
from ..steer.pipeline import Pipeline
from ..tree import ROOT, Tree
from .branches import Branches
from .contract import Branch, Group, Heir, Search, Searching

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a branch stands in the middle of a round, of which nothing is final yet."""

    row: Row
    length: int  # tokens of the answer
    score: float
    strand: int = 0
    passed: tuple[int, ...] = ()  # nodes of the row's tree before the newest token
    node: int | None = ROOT  # that bears the newest token; None: it was not drafted
    newest: int = -1  # token; none yet where the node is the root

    def take(self, sprout: Sprout, tree: Tree) -> Tip:
        """The tip after one more token."""
        assert self.node is not None, "what follows a token that was not evaluated is not known"
        passed = self.passed if self.node == ROOT else (*self.passed, self.node)
        node = tree.child_bearing(self.node, sprout.token)
        return Tip(self.row, self.length + 1, sprout.score, sprout.strand, passed, node, sprout.token)


class Sprout(NamedTuple):
    """A branch goes on with a token. A branch from which none goes on is dropped."""

    tip: int  # number of the tip
    token: int
    score: float  # of the branch from now on
    strand: int = 0


class Stepwise(Search):
    """Draws nothing: the temperature stays 0."""

    pictures: ClassVar[bool] = True

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if not pipeline.greedy:
            raise Unsupported(f"{self.name} involves no chance", hint="leave the temperature at 0")

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Stepping(self, branches)

    @abstractmethod
    def grow(self, tips: Sequence[Tip], weights: Tensor, ends: Collection[int], wanted: int) -> list[Sprout]:
        """The branches of the next step, best first: steered log-probabilities [n, V] after n tips, float64.

        At the first step there is one tip, the prompt's. `ends` are the tokens that end an answer.
        """

    def worth(self, score: float, length: int) -> float:
        """What an answer of so many tokens is ranked by."""
        return score

    def going(self, tips: Sequence[Tip], finished: Sequence[Branch], most: int, wanted: int) -> list[Tip]:
        """Those tips that may still lead to an answer that counts; an answer has at most `most` tokens."""
        return list(tips)


class Stepping(Searching):
    """A stepwise search at work."""

    def __init__(self, search: Stepwise, branches: Branches) -> None:
        self.search = search
        self.branches = branches
        self._grown: dict[Group, tuple[list[Branch], list[Branch]]] = {}  # of this round: alive, finished

    def grow(self, groups: Sequence[Group]) -> None:
        for group in groups:
            group.alive[0].row = group.alive[0].row or group.first

    def choose(self, group: Group, target: Target, places: Mapping[Row, int]) -> list[Heir]:
        first, search = group.first, self.search
        most, ends = first.limits.new_tokens, first.limits.ends
        # A text that ends an answer, or leaves nothing that may follow, is seen only as its row takes the tokens.
        blind = first.stoppers is not None or first.rule.pipeline.constraint is not None
        tips = [Tip(row, len(b.tokens), b.score, b.strand) for b in group.alive if (row := b.row) is not None]
        finished: list[tuple[Branch, Tip]] = []
        while True:
            taken = [
                tips[sprout.tip].take(sprout, target.trees[places[tips[sprout.tip].row]])
                for sprout in search.grow(tips, self._weights(tips, target, places), ends, group.wanted)
            ]
            over = [tip for tip in taken if tip.newest in ends or tip.length == most]
            finished += [(self._branch(tip), tip) for tip in over]
            known = [*group.finished, *(branch for branch, _ in finished)]
            tips = search.going([tip for tip in taken if tip not in over], known, most, group.wanted)
            if not tips or blind or any(tip.node is None for tip in tips):
                break
        alive = [(self._branch(tip), tip) for tip in tips]
        self._grown[group] = [branch for branch, _ in alive], [branch for branch, _ in finished]
        return [Heir(branch, tip.row, Verdict(list(tip.passed), tip.newest)) for branch, tip in [*alive, *finished]]

    def _weights(self, tips: Sequence[Tip], target: Target, places: Mapping[Row, int]) -> Tensor:
        """Steered log-probabilities after the tips: [n, V]."""
        nodes = [(places[tip.row], tip.node) for tip in tips if tip.node is not None]
        target.choose(nodes)  # steers them all at once
        return torch.stack([target.steered(*node) for node in nodes]).double().log_softmax(-1)

    def _branch(self, tip: Tip) -> Branch:
        return Branch(score=tip.score, worth=self.search.worth(tip.score, tip.length), strand=tip.strand)

    def settle(self, group: Group) -> None:
        alive, finished = self._grown.pop(group)
        for branch in [*alive, *finished]:
            branch.catch_up()
        stopped = [branch for branch in alive if branch.row is None]  # by a text
        group.finished += [*finished, *stopped]
        group.alive = [branch for branch in alive if branch.row is not None]
        group.ended = not group.alive

"""Relaxed verification: take a drafted token that is nearly as good as the model's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...tree import ROOT, NodeKind, Tree
from ..chance import Vector
from ..contract import Acceptor, Target, Verdict

ENTRY = Entry(
    name="relaxed-verification",
    family="speculate",
    source="arXiv 2205.10350 (the rule of GAD++)",
    parts="lookup+relaxed",
    guarantee=Guarantee.APPROXIMATE,
    number=29,
    summary="accepts a guess among the best few and near the best; beta = 1 is exact",
)


@dataclass(frozen=True, slots=True)
class Relaxed(Acceptor):
    """Accept a token among the best `beta` whose score is within `tau` of the best; of several the best one.

    Scores are what the rule of choice compares: steered logits, plus the row's noise where it samples. So beta = 1 is
    `exact`, with a seed too. The default settings are not confirmed to be the published ones.
    """

    beta: int = 3  # ≥ 1; 1 is exact
    tau: float = 1.0  # ≥ 0, in logits

    name: ClassVar[str] = "relaxed"
    accepts: ClassVar[frozenset[NodeKind]] = frozenset(NodeKind)
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE

    def __post_init__(self) -> None:
        if not (self.beta >= 1 and self.tau >= 0):
            raise InvalidRequest(f"relaxed({self.beta}, {self.tau})", hint="beta >= 1 and tau >= 0; beta = 1 is exact")

    def accept(self, target: Target) -> list[Verdict]:
        last = []
        for row, tree in enumerate(target.trees):
            node, child = ROOT, self._best(tree, ROOT, target, row)
            while child is not None:
                node, child = child, self._best(tree, child, target, row)
            last.append(node)
        extras = target.choose(list(enumerate(last)))
        return [Verdict(tree.path(node), extra) for tree, node, extra in zip(target.trees, last, extras, strict=True)]

    def _best(self, tree: Tree, node: int, target: Target, row: int) -> int | None:
        """The best admissible child of a node."""
        children = [child for child in tree.children(node) if tree.proposals[child] is not NodeKind.RIDER]
        if not children:
            return None
        scores = target.scores(row, node)
        able = [child for child in children if self.admits(scores, tree.tokens[child])]
        return max(able, key=lambda child: scores[tree.tokens[child]], default=None)

    def admits(self, scores: Vector, token: int) -> bool:
        """Whether a token may be accepted under these scores [V]; of equal ones the lower id is the better."""
        mine = scores[token]
        better = int((scores > mine).sum()) + int((scores[:token] == mine).sum())
        return better < self.beta and bool(scores.max() - mine <= self.tau)

"""Traversal verification: judge the joint ratios of whole paths of a tree, from its leaves up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...entry import Entry, Guarantee
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..chance import (
    Chance,
    SamplingAcceptor,
    Vector,
    candidates,
    drawn_after,
    excess,
    likelihood,
)
from ..contract import Verdict

ENTRY = Entry(
    name="traversal-verification",
    family="speculate",
    source="arXiv 2505.12398",
    parts="rsd-c+traversal",
    guarantee=Guarantee.DISTRIBUTION,
    needs=("draft model", "tree windows"),
    summary="judges a tree from its leaves up: block verification for trees",
)


@dataclass(frozen=True, slots=True)
class Traversal(SamplingAcceptor):
    """Try the leaves in the order drawn, each with the weight of its whole path; a rejected leaf is taken out.

    A child's weight is min(1, w p/q) from its parent's. When a child is rejected, its parent's p becomes the excess
    max(w p - q, 0), of sum S, normalised, and the parent's weight S / (S + 1 - w). (Dividing by the mass that q has
    left instead is a known mistake, and biased.)
    """

    name: ClassVar[str] = "traversal"
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE, Siblings.DISTINCT})

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        path = [_Place(tree, target, ROOT, 1)]
        while True:
            here = path[-1]
            if here.waiting and here.weight > 0:  # of weight 0: no leaf below can be accepted
                path.append(here.first_child())
            # labelled by depth, as what lies below a rejected node is looked at anew in a later round; and by node
            elif len(path) == 1 or chance.at(len(path) - 1, len(path) - 1, here.node).accept(here.weight):
                return Verdict(tree.path(here.node), chance.at(len(path), len(path), 0).draw(here.p))
            else:
                path.pop()
                path[-1].lose_child()


@dataclass(slots=True)
class _Place:
    """A node on the path to the leaf that is tried."""

    tree: Tree
    target: Callable[[int], Vector]
    node: int
    weight: Any  # with which the path down to here is accepted once nothing is left below
    waiting: list[int] = field(init=False)  # children not rejected
    taken: list[int] = field(default_factory=list)  # tokens of sampled children that were
    _p: Vector | None = None

    def __post_init__(self) -> None:
        self.waiting = candidates(self.tree, [self.node])

    @property
    def p(self) -> Vector:
        """What follows this node, as far as rejected children have left it."""
        if self._p is None:
            self._p = self.target(self.node)
        return self._p

    def first_child(self) -> _Place:
        """The next child in the order drawn, with the weight of its path."""
        child = self.waiting[0]
        token, q = self.tree.tokens[child], drawn_after(self.tree, child, self.taken)
        ratio = self.p[token] / likelihood(q, token)
        return _Place(self.tree, self.target, child, min(1, self.weight * ratio))

    def lose_child(self) -> None:
        """Take out the child just rejected, and what it stood for."""
        child = self.waiting.pop(0)
        token, q = self.tree.tokens[child], drawn_after(self.tree, child, self.taken)
        rest = excess(self.weight * self.p, q, token)
        total = rest.sum()
        if total > 0:
            self._p = rest / total
            self.weight = total / (total + 1 - self.weight)
        elif self.weight < 1:
            self.weight = 0  # else nothing was rejected, but for rounding
        if self.tree.proposals[child] is NodeKind.SAMPLED:
            self.taken.append(token)

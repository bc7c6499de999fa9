"""Recursive rejection: siblings drawn without replacement, tried in the order in which they were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...tree import NodeKind, Siblings, Tree
from ..chance import Chance, TopDownAcceptor, Vector, drawn_after, rejected


@dataclass(frozen=True, slots=True)
class Recursive(TopDownAcceptor):
    """Each sibling is judged by q without the tokens drawn before it, on what those have left of p.

    The rule of RSD (arXiv 2402.14160), of Sequoia (2402.12374) and of DySpec (2410.11744). Once the siblings before
    hold all of q's mass, a further one counts as drawn uniformly from the rest.
    """

    name: ClassVar[str] = "recursive"
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE, Siblings.DISTINCT})

    def pick(self, tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
        taken: list[int] = []
        for child in children:
            token = tree.tokens[child]
            left = rejected(p, drawn_after(tree, child, taken), token, chance)
            if left is None:
                return child, p
            p = left
            if tree.proposals[child] is NodeKind.SAMPLED:
                taken.append(token)
        return None, p

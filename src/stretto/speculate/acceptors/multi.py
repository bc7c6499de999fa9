"""Several candidates per place, drawn independently: try them in turn on what the ones before have left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...tree import Siblings, Tree
from ..chance import Chance, TopDownAcceptor, Vector, one_by_one

ENTRY = Entry(
    name="multi-candidate",
    family="speculate",
    source="arXiv 2401.06706; repository NJUNLP/MCSD",
    parts="iid+multi",
    guarantee=Guarantee.DISTRIBUTION,
    needs=("draft model", "tree windows"),
    summary="several independent guesses for each place, tried in turn",
)


@dataclass(frozen=True, slots=True)
class Multi(TopDownAcceptor):
    """Accept each sibling with min(1, p/q); after a rejection p becomes the normalised excess of p over q.

    Right for siblings that repeat. For siblings drawn without replacement it would be biased: `recursive` is theirs.
    """

    name: ClassVar[str] = "multi"
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE, Siblings.REPEATED})

    def pick(self, tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
        return one_by_one(tree, children, p, chance)

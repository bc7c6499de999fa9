"""K-SEQ: choose among independent drafts nearly as well as optimal transport could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...entry import Entry, Guarantee
from ...errors import Unsupported
from ...tree import NodeKind, Siblings, Tree
from ..chance import Chance, TopDownAcceptor, Vector, drawn_from, normalised, one_by_one

ENTRY = Entry(
    name="spectr",
    family="speculate",
    source="arXiv 2310.15141 (SpecTr: speculative decoding via optimal transport)",
    parts="iid+k-seq",
    guarantee=Guarantee.DISTRIBUTION,
    number=195,
    needs=("draft model", "tree windows"),
    summary="several independent drafts, selected by a near-optimal transport rule",
)

HALVINGS = 60  # of an interval inside [1, n]: to the last bit of a float64
ALIKE = 1e-6  # by how much vectors that were computed side by side may differ


@dataclass(frozen=True, slots=True)
class KSeq(TopDownAcceptor):
    """Accept each of n candidates from one q with min(1, p/(ρ q)), where ρ is as small as exactness allows.

    Draw from p - min(q, p/ρ) (1 - (1 - β)^n)/β if none is accepted, β being the chance to accept one. At least
    1 - 1/e of what the best rule could accept. Candidates of another source are judged on what the first have left.
    """

    name: ClassVar[str] = "k-seq"
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE, Siblings.REPEATED})

    def pick(self, tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
        sampled = [child for child in children if tree.proposals[child] is NodeKind.SAMPLED]
        for source in dict.fromkeys(tree.sources[child] for child in sampled):
            drafts = [child for child in sampled if tree.sources[child] == source]
            q = common_vector(tree, drafts)
            scaled = p / ratio_bound(p, q, len(drafts))
            for child in drafts:
                if chance.accept(scaled[tree.tokens[child]] / q[tree.tokens[child]]):
                    return child, p
            once = np.minimum(q, scaled)  # [V], what one candidate alone is accepted as
            accepted = once.sum()
            if accepted > 0:
                any_of = (1 - (1 - accepted) ** len(drafts)) / accepted
                p = normalised(np.maximum(p - once * any_of, 0), p)
        return one_by_one(tree, children[len(sampled) :], p, chance)


def common_vector(tree: Tree, drafts: Sequence[int]) -> Vector:
    """The vector [V] that all of them were drawn from. Raises Unsupported where they differ."""
    vectors = [drawn_from(tree, draft) for draft in drafts]
    first = vectors[0]
    assert first is not None
    tokens = [tree.tokens[draft] for draft in drafts]
    for vector in vectors[1:]:
        if vector is not first and vector is not None and abs(vector[tokens] - first[tokens]).max() > ALIKE:
            raise Unsupported(
                f"drafts of {tree.sources[drafts[0]]!r} for one place come from different distributions",
                hint="use 'specinfer', or give each drafter its own source",
            )
    return first


def ratio_bound(p: Vector, q: Vector, n: int) -> Any:
    """ρ in [1, n] with 1 - (1 - β)^n = ρ β, where β(ρ) is the sum of min(q, p/ρ). A larger one is as exact.

    Between two neighbouring ratios p/q, β is a + b/ρ: find the two, then halve.
    """
    if n == 1:
        return 1
    p, q = p.astype(float), q.astype(float)
    held = q > 0
    ratios = np.divide(p, q, out=np.zeros_like(p), where=held)
    between = np.flatnonzero((ratios > 1) & (ratios < n))
    between = between[np.argsort(ratios[between])]
    low_q, low_p = q[ratios >= n].sum(), p[held & (ratios <= 1)].sum()  # on one side for every ρ in (1, n)
    steps = np.concatenate([[1.0], ratios[between], [float(n)]])
    a = low_q + np.append(np.cumsum(q[between][::-1])[::-1], 0.0)  # [len(steps) - 1], of each interval
    b = low_p + np.append(0.0, np.cumsum(p[between]))
    surplus = _surplus(steps[1:], a, b, n)  # falls with ρ
    inside = min(int(np.count_nonzero(surplus > 0)), len(a) - 1)
    low, high = steps[inside], steps[inside + 1]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _surplus(middle, a[inside], b[inside], n) > 0 else (low, middle)
    return float(high)


def _surplus(rho: Any, a: Any, b: Any, n: int) -> Any:
    beta = a + b / rho
    return 1 - (1 - beta) ** n - rho * beta

"""What is lost by writing several tokens of an answer at once, by the joint distribution of all of them.

A model that fills masks draws all positions of one step independently. Where the tokens of the right answers depend on
each other, what it writes then cannot be distributed as they are, however good the model: the divergence is at least
the total correlation of the positions that are filled together, given those filled before (arXiv 2510.04767). Who
knows every conditional, as `models.table.ExactJoint` does, reaches exactly that. Here all answers are written down
with their probabilities, and everything is worked out by summing over them. Figures are in nats.

Any one answer can be written at once by a model that has made up its mind. What `accuracy` and `greedy` tell is what
becomes of the true conditionals, which leave it open.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..diffuse.quotas import transfers
from ..errors import InvalidRequest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MOST_CELLS = 1 << 22  # of a joint as a table

Groups = Sequence[Sequence[int]]  # the positions filled in each step; every position once
Floats: TypeAlias = "NDArray[np.float64]"
Numbers: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """All answers that are right, and how likely each is to be the one."""

    answers: Numbers  # [N, n] tokens from 0; no two rows are equal
    chances: Floats  # [N] above 0, together 1

    @property
    def positions(self) -> int:
        """Tokens of an answer, n."""
        return int(self.answers.shape[1])

    def table(self) -> Floats:
        """Probabilities of all rows of tokens [V] * n: what `ExactJoint` takes. Raises InvalidRequest where it is huge.

        V is one more than the largest token.
        """
        size = int(self.answers.max()) + 1
        if size**self.positions > MOST_CELLS:
            raise InvalidRequest(f"a table of {size}^{self.positions} cells", hint="a shorter answer")
        cells = np.zeros((size,) * self.positions)
        cells[tuple(self.answers.T)] = self.chances
        return cells


def uniform(answers: Iterable[Sequence[Hashable]]) -> Joint:
    """Each of the answers equally likely; their tokens, all of one kind, are numbered in ascending order.

    Raises InvalidRequest where there is none, or they differ in length.
    """
    rows = sorted(set(map(tuple, answers)))
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise InvalidRequest(f"{len(rows)} answers, none of them or of several lengths", hint="one length, from 1")
    number = {token: at for at, token in enumerate(sorted({token for row in rows for token in row}))}  # type: ignore
    ids = np.array([[number[token] for token in row] for row in rows], np.int64)
    return Joint(ids, np.full(len(ids), 1 / len(ids)))


def from_table(table: ArrayLike) -> Joint:
    """A joint [V] * n of weights ≥ 0, which are made to sum to 1. Raises InvalidRequest where they cannot be."""
    weights = np.asarray(table, np.float64)
    if not weights.ndim or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InvalidRequest("this is no joint distribution", hint="weights from 0, an axis for each position")
    answers = np.argwhere(weights > 0).astype(np.int64)
    chances = weights[tuple(answers.T)]
    return Joint(answers, chances / chances.sum())


# -- what is lost by filling together -----------------------------------------------------------------------


def entropy(joint: Joint, positions: Iterable[int] | None = None) -> float:
    """H in nats of the tokens at these positions together; of whole answers where none are named."""
    known = np.zeros(len(joint.answers), np.int64)
    for each in range(joint.positions) if positions is None else positions:
        known = _refined(known, joint.answers[:, each])
    return _entropy(joint, known)


def total_correlation(joint: Joint) -> float:
    """Σ H_i − H in nats, 0 or more: the least KL(joint ‖ q) of any q that draws all positions independently.

    The product of the marginals reaches it.
    """
    return bound(joint, [range(joint.positions)])


def correlations(joint: Joint, groups: Groups) -> list[float]:
    """For each step, the total correlation in nats of what it fills, given what was filled before; on average."""
    _check(joint, groups)
    found, known = [], np.zeros(len(joint.answers), np.int64)
    for group in groups:
        before = _entropy(joint, known)
        alone = math.fsum(_entropy(joint, _refined(known, joint.answers[:, each])) - before for each in group)
        for each in group:
            known = _refined(known, joint.answers[:, each])
        found.append(max(0.0, alone - (_entropy(joint, known) - before)))  # below 0 by rounding only
    return found


def bound(joint: Joint, groups: Groups) -> float:
    """The least KL(joint ‖ q) in nats of any q that fills these groups in turn, each at once: their correlations' sum.

    The true conditionals reach it. One position a step: 0.
    """
    return math.fsum(correlations(joint, groups))


# -- how right an answer can be ---------------------------------------------------------------------------------


def likelihoods(joint: Joint, groups: Groups) -> Floats:
    """q [N]: how likely each answer is to be written by drawing from the true conditionals, each group at once."""
    _check(joint, groups)
    found, known = np.ones(len(joint.answers)), np.zeros(len(joint.answers), np.int64)
    for group in groups:
        masses = np.bincount(known, joint.chances)[known]
        for each in group:
            together = _refined(known, joint.answers[:, each])
            found *= np.bincount(together, joint.chances)[together] / masses
        for each in group:
            known = _refined(known, joint.answers[:, each])
    return found


def accuracy(joint: Joint, groups: Groups) -> float:
    """How likely a right answer is where tokens are drawn from the true conditionals, each group at once.

    No less than e^−`bound`, and that where q is the joint times one factor. One position a step: 1.
    """
    return math.fsum(likelihoods(joint, groups))


def greedy(joint: Joint, groups: Groups) -> bool:
    """Whether the answer is right where each group is filled at once with what is likeliest at each of its positions.

    Of equally likely tokens the lowest is taken.
    """
    _check(joint, groups)
    left = joint
    for group in groups:
        fits = np.ones(len(left.answers), np.bool_)
        for each in group:
            tokens = left.answers[:, each]
            fits &= tokens == np.bincount(tokens, left.chances).round(12).argmax()  # equal but for rounding is equal
        if not fits.any():
            return False
        left = Joint(left.answers[fits], left.chances[fits])
    return True


# -- what is filled when ----------------------------------------------------------------------------------------


def in_turn(positions: int, steps: int) -> list[range]:
    """Groups from left to right, as even as whole numbers can be, larger ones first: blocks filled in a step each.

    Raises InvalidRequest where a step would fill nothing.
    """
    if not 1 <= steps <= positions:
        raise InvalidRequest(f"{positions} positions in {steps} steps", hint=f"1 to {positions} steps")
    ends = list(itertools.accumulate(transfers(positions, steps)))
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def orders(sizes: Sequence[int]) -> Iterator[list[tuple[int, ...]]]:
    """All groups of these sizes in turn: a random order takes each equally often."""

    def parts(left: tuple[int, ...], step: int) -> Iterator[list[tuple[int, ...]]]:
        if step == len(sizes):
            yield []
            return
        for group in itertools.combinations(left, sizes[step]):
            for rest in parts(tuple(each for each in left if each not in group), step + 1):
                yield [group, *rest]

    return parts(tuple(range(sum(sizes))), 0)


def _refined(known: Numbers, tokens: Numbers) -> Numbers:
    """Numbers [N] that are equal where both were: `known` tells apart what was filled before."""
    both: Numbers = np.unique(known * (int(tokens.max()) + 1) + tokens, return_inverse=True)[1]
    return both


def _entropy(joint: Joint, known: Numbers) -> float:
    masses = np.bincount(known, joint.chances)
    return -math.fsum(masses * np.log(masses))


def _check(joint: Joint, groups: Groups) -> None:
    if sorted(each for group in groups for each in group) != list(range(joint.positions)):
        raise InvalidRequest(
            f"these steps do not fill {joint.positions} positions, each once", hint="see `in_turn` and `orders`"
        )

"""Speculative sampling's own draft: a chain of tokens drawn from a smaller model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...tree import NodeKind
from ..chance import KeyedChance, Vector
from ..contract import Drafter, Drafting, Room
from ..drafted import Drafted, source_of
from ..growth import Growing, Growth, Urn, fill, probabilities, shape_of, urns_of
from ..inside.contract import Layers

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="speculative-sampling",
    family="speculate",
    source="arXiv 2211.17192, arXiv 2302.01318",
    parts="sampled+rejection",
    guarantee=Guarantee.DISTRIBUTION,
    needs=("draft model",),
    summary="a smaller model draws a chain, rejection sampling corrects it",
)


@dataclass(frozen=True, slots=True)
class Sampled(Drafter):
    """A chain in which each token is drawn from what the row's rule makes of the small model's logits.

    The coins are the row's own, apart from its noise. Made for acceptors that weigh p against q; the acceptor `exact`
    takes fewer of these tokens than of those that `draft` chooses with the row's noise. At temperature 0 the
    distribution is certain: the likeliest token. Score: the small model's
    probability of the token.
    """

    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "sampled"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED})

    @property
    def needs(self) -> Ability:
        return getattr(self.model, "needs", Ability.NONE)

    def begin(self, context: Context) -> Drafting:
        return SampledDrafting(self, source_of(context, self.model, Ability.NONE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """Draw a chain as long as the room allows."""

        def urns(lines: Sequence[tuple[Vector, Vector]], depth: int) -> list[Urn]:
            made = urns_of([line for line, _ in lines], depth, chance)
            for urn, (line, belief) in zip(made, lines, strict=True):
                urn.belief = belief
                if chance is None:
                    urn.proposal, urn.drawn_from = NodeKind.SAMPLED, one_hot(line)
            return made

        return fill(draft, room, shape_of([1] * room.depth, room), urns, self.name)


class SampledDrafting(Growing):
    """Growths are sent the probabilities to draw from, and those of the small model before any steer."""

    def digest(self, logits: Tensor, steered: Tensor) -> list[tuple[Vector, Vector]]:
        drawn_from = probabilities(steered)
        believed = drawn_from if steered is logits else probabilities(logits)
        return list(zip(drawn_from, believed, strict=True))


def one_hot(line: Vector) -> Vector:
    """All probability on the likeliest token, of equals the first: [V]."""
    certain = np.zeros_like(line)
    certain[line.argmax()] = 1
    return certain

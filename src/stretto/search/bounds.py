"""How likely the beginnings of an answer can still become a valid one: bounds from above, learnt from draw to draw.

Where the model was never asked, the bound is 1. Where it was, it is the probability of what a constraint lets follow,
each token's times the bound behind it. So it only falls, and comes to what is true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..steer.constrained import Constrained
from ..steer.contract import Steer

if TYPE_CHECKING:
    from torch import Tensor

    from ..steer.nodes import Nodes
    from ..steer.path import History


@dataclass(slots=True, eq=False)
class Place:
    """A beginning of an answer."""

    bound: float = 1.0  # at least the probability that it becomes a valid answer
    asked: bool = False  # whether the model was
    rest: float = 1.0  # probability of the tokens that may follow and of which no more is known
    able: int = 0  # how many these are
    known: dict[int, tuple[float, Place]] = field(default_factory=dict)  # the others: probability, what is known

    def learn(self, steps: Sequence[Met], dead: bool) -> None:
        """A draw went these steps, and chose a token at each; `dead`: with the last it is no valid answer any more.

        Of a draw that was valid, or given up before its last token was looked at, no place stands for the end.
        """
        places = [self]
        for met in steps:
            place = places[-1]
            if not place.asked:
                place.asked, place.rest, place.able = True, met.mass, met.able
            if met is steps[-1] and not dead:
                break
            if met.token not in place.known:
                place.known[met.token] = met.share, Place()
                place.rest, place.able = max(0.0, place.rest - met.share), place.able - 1
            places.append(place.known[met.token][1])
        if dead:
            places[-1].bound = 0.0
        for place in reversed(places[: len(places) - dead]):
            behind = sum(share * child.bound for share, child in place.known.values())
            place.bound = min(place.bound, behind + (place.rest if place.able else 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """A token of a draw, and what was met where it was chosen."""

    token: int
    share: float  # its probability, without constraint and bounds
    mass: float  # of all that could be chosen: probability times bound, summed
    able: int  # tokens that could be chosen
    new: bool  # whether the model was never asked here before


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """Where a path stands in what is known, and the way there."""

    place: Place | None
    before: Spot | None = None
    met: Met | None = None  # with the token that led here
    seen: tuple[Tensor, float, int] | None = None  # log-probabilities [V], mass, able; once the model has been asked


@dataclass(frozen=True, slots=True)
class Trail(Steer):
    """Remembers what `Bounded` meets along a path; no step of a pipeline."""

    root: Place

    @property
    def name(self) -> str:  # type: ignore[override]  # no part of methods: a class without a name is none
        return "trail"

    def begin(self, prompt: Sequence[int]) -> Spot:
        return Spot(self.root)

    def step(self, state: Spot, token: int) -> Spot:
        place = state.place
        after = place.known.get(token, (0.0, None))[1] if place else None
        if state.seen is None:
            return Spot(after, state)
        log_p, mass, able = state.seen
        met = Met(token, math.exp(float(log_p[token])), mass, able, place is None or not place.asked)
        return Spot(after, replace(state, seen=None), met)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


@dataclass(frozen=True, slots=True)
class Bounded(Constrained):
    """A constraint that weighs what it allows: each token by the bound behind it, at the temperature of the draw."""

    trail: Trail = field(kw_only=True)
    temperature: float = field(kw_only=True)  # > 0

    hears: ClassVar[bool] = True

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        spots: list[Spot] = nodes.states(self.trail)
        log_p = (logits.double() / self.temperature).log_softmax(-1)  # [N, V]
        weighed = log_p.clone()
        for node, spot in enumerate(spots):
            for token, (_, place) in spot.place.known.items() if spot.place else ():
                weighed[node, token] += math.log(place.bound) if place.bound else -torch.inf
        allowed = Constrained.__call__(self, weighed, nodes)
        masses, able = allowed.logsumexp(-1).exp().tolist(), (allowed > -torch.inf).sum(-1).tolist()
        seen = [
            replace(spot, seen=each) for spot, each in zip(spots, zip(log_p, masses, able, strict=True), strict=True)
        ]
        nodes.tell(self.trail, range(len(seen)), seen)
        return (allowed * self.temperature).to(logits.dtype)

    def met(self, history: History, newest: int) -> list[Met]:
        """What was met where the newest tokens of a row were chosen, oldest first."""
        spot: Any = history.state(self.trail, ())
        found: list[Met] = []
        while len(found) < newest:
            assert spot.met is not None, "a token was chosen where nobody looked"
            found.append(spot.met)
            spot = spot.before
        return found[::-1]

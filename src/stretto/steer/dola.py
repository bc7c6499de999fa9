"""DoLa: what the last layer knows better than an early one (arXiv 2309.03883)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from ..models.contract import NOTHING, Want
from ..models.vocabulary import NEVER
from .contract import Stage, Steer, in_range, require
from .logits import contrasted, implausible

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

SAME = 1e-9  # nats: closer than that to the last layer there is nothing to contrast with

ENTRY = Entry(
    name="dola",
    family="steer",
    source="arXiv 2309.03883 (DoLa); voidism/DoLa",
    parts="plain+dola(0,2,4)",
    guarantee=Guarantee.DEFINED,
    needs=("hidden states",),
    summary="away from what an early layer says already: of several the one that differs most, at each token",
)


@dataclass(frozen=True, slots=True)
class Dola(Steer):
    """Log-probabilities less those of an early layer, among the tokens that the model itself finds plausible.

    Of the layers the one is taken, at each node, whose distribution differs most from the last one's. By `official`,
    the authors' code, the difference is the mean of KL(m ‖ last) and KL(m ‖ early), m the mean of both; by `textbook`
    that of KL(last ‖ m) and KL(early ‖ m), the Jensen-Shannon divergence. Where none differs the logits stay, among
    the plausible tokens. The authors add a repetition penalty of 1.2, and take every other layer of the lower half
    (long answers) or the upper one (short ones).
    """

    name: ClassVar[str] = "dola"
    stage: ClassVar[Stage] = Stage.CONTRAST

    layers: tuple[int, ...] = (0, 2, 4)  # early layers, 0 (the embedding) to the model's last
    by: float = 1.0  # 0 to 100: how often the early log-probabilities are taken off; 1 is the authors'
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    divergence: Literal["official", "textbook"] = "official"

    def __post_init__(self) -> None:
        require(
            all(layer >= 0 for layer in self.layers), f"dola with layers {self.layers}", "0 (the embedding) or more"
        )
        require(bool(self.layers), "dola without a layer", "name one, or several to choose from")
        require(in_range(self.by, 0, 100), f"dola by {self.by}", "0 to 100; 1 is the authors'")
        require(in_range(self.share, 0, 1), f"dola with share {self.share}", "0 to 1")

    @property
    def idle(self) -> bool:
        return self.by == 0 and self.share == 0

    @property
    def wants(self) -> Want:
        return Want(readout=self.layers) if self.by else NOTHING

    @classmethod
    def examples(cls) -> tuple[Dola, ...]:
        return cls(by=0.0, share=0.0), cls((0, 1, 2)), cls((1,), 2.0, 0.0), cls((2, 0), divergence="textbook")

    def chosen(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """At each node which of the layers is taken, as its place among them [N], and how far it differs [N]."""
        own = nodes.log_probabilities
        apart = torch.stack([self._apart(own, self._early(nodes, layer)) for layer in self.layers])  # [J, N]
        far, place = apart.max(0)  # the first among equals
        return place, far

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own, moved = nodes.log_probabilities, logits
        if self.by:
            place, far = self.chosen(nodes)
            early = torch.stack([self._early(nodes, layer) for layer in self.layers])  # [J, N, V]
            early = early[place, torch.arange(len(place), device=place.device)].clamp(min=NEVER)
            level = torch.where(own == -torch.inf, own, 0.0)
            moved = torch.where((far > SAME)[:, None], contrasted(logits, level, early, self.by), logits)
        if not self.share:
            return moved
        return moved.masked_fill(implausible(own, self.share), -torch.inf)

    def _early(self, nodes: Nodes, layer: int) -> Tensor:
        return nodes.readout[layer].log_softmax(-1, dtype=nodes.log_probabilities.dtype)

    def _apart(self, own: Tensor, early: Tensor) -> Tensor:
        """How far the distributions of log-probabilities [N, V] differ, in nats: [N]."""
        middle = torch.logaddexp(own, early) - math.log(2)
        if self.divergence == "official":
            return _divergence(middle, own) / 2 + _divergence(middle, early) / 2
        return _divergence(own, middle) / 2 + _divergence(early, middle) / 2


def _divergence(of: Tensor, by: Tensor) -> Tensor:
    """KL(of ‖ by) of log-probabilities [N, V]: [N]. What has no probability in `by` counts as `NEVER`."""
    return (of.exp() * (of.clamp(min=NEVER) - by.clamp(min=NEVER))).sum(-1)

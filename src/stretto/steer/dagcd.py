"""DAGCD: tokens of the context get likelier that the model's own heads point at (arXiv 2501.01059)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..models.contract import NOTHING, Want
from .contract import Stage, Steer, in_range, require
from .logits import token_set

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="dagcd",
    family="steer",
    number=96,
    source="arXiv 2501.01059 (dynamic attention-guided context decoding); uestc-huangyw/DAGCD",
    parts="plain+dagcd((0,0),(0,1),weights=(1,1),bias=-0.5)",
    guarantee=Guarantee.DEFINED,
    needs=("attention summaries", "a trained detector"),
    summary="tokens of the context that chosen heads point at get likelier where the model is unsure",
)


@dataclass(frozen=True, slots=True)
class Dagcd(Steer):
    """To the probabilities add `alpha` times the normalised entropy times what heads say of the context's tokens.

    A head says of a distinct token of the context the mean of what it attends to its occurrences, and these add up to 1
    over the context. A detector (a logistic regression over the heads: `train.detector`) says which tokens count; of
    these the ones among the `most` likeliest share a mass of 1 by their weighted attention. Where the best token of
    the model is one of `ends`, nothing changes.
    """

    name: ClassVar[str] = "dagcd"
    stage: ClassVar[Stage] = Stage.CONTRAST

    heads: tuple[tuple[int, int], ...]  # (layer from 0, query head)
    weights: tuple[float, ...] = ()  # of the detector, one for each head
    bias: float = 0.0  # of the detector: a token counts where the weighted sum and this are above 0
    alpha: float = 2.0  # 0 to 1000, 0 is neutral; usual: 2, and 4 for chat models
    most: int = 10  # likeliest tokens that may get more, >= 1
    first: int = 0  # place of the context's first token in the prompt, >= 0
    last: int | None = None  # place behind its last one; None: the prompt's end
    ends: frozenset[int] = frozenset()  # tokens such as a line's or an answer's end

    def __post_init__(self) -> None:
        require(
            len(self.weights) == len(self.heads), f"{len(self.weights)} weights of {len(self.heads)} heads", "one each"
        )
        require(
            all(map(math.isfinite, (*self.weights, self.bias))), "dagcd with a detector of no numbers", "finite ones"
        )
        require(in_range(self.alpha, 0, 1000), f"dagcd with alpha {self.alpha}", "0 to 1000; 0 changes nothing")
        require(self.most >= 1, f"dagcd of the {self.most} likeliest tokens", "1 or more")
        require(self.first >= 0, f"dagcd with a context from {self.first} on", "0 or more")
        require(
            self.last is None or self.last > self.first, f"dagcd with a context up to {self.last}", "a token, at least"
        )
        token_set(self.ends, "ends")

    @property
    def idle(self) -> bool:
        return self.alpha == 0

    @property
    def wants(self) -> Want:
        return NOTHING if self.idle else Want(attention=self.heads)

    @property
    def named_tokens(self) -> frozenset[int]:
        return self.ends

    @classmethod
    def examples(cls) -> tuple[Dagcd, ...]:
        heads = (0, 1), (2, 3)
        return (
            cls(heads, (1.0, 0.5), alpha=0.0),
            cls(heads, (1.0, 0.5), most=97, alpha=40.0),
            cls(heads, (2.0, 1.0), -0.4, most=60, alpha=400.0, first=1, ends=frozenset({3})),
        )

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own, steered = nodes.log_probabilities, logits.clone()
        unsure = self.alpha * nodes.entropy / math.log(own.shape[-1])  # [N]
        for node, (path, best) in enumerate(zip(nodes.paths, nodes.raw.argmax(-1).tolist(), strict=True)):
            prompt = path.history.tokens[: path.history.prompt_length]
            tokens = prompt[self.first : self.last]
            if not tokens or best in self.ends:
                continue
            span = slice(self.first, self.first + len(tokens))
            ids, share = shares(tokens, torch.stack([nodes.attention[head][node, span] for head in self.heads]))
            weighted = (self._weights(share)[:, None] * share).sum(0)  # [U]
            counts = (weighted + self.bias > 0) & best_of(nodes.raw[node], self.most)[ids]
            mass = torch.where(counts, weighted.clamp(min=0.0), 0.0)
            p = own[node, ids]  # of these alone: the bits of a logarithm depend on where a number stands in its tensor
            if float(mass.sum()) > 0:
                added = (unsure[node] * mass / mass.sum()).to(p.dtype).log()
                gained = torch.where(p > -torch.inf, torch.logaddexp(p, added) - p, 0.0)
                steered[node, ids] += gained.to(logits.dtype)
        return steered

    def _weights(self, share: Tensor) -> Tensor:
        return torch.tensor(self.weights, dtype=share.dtype, device=share.device)


def best_of(scores: Tensor, most: int) -> Tensor:
    """Which of the scores [V] are the `most` best, the lower ids first among equals: bool [V]."""
    edge = scores.topk(min(most, len(scores))).values[-1]
    best = scores > edge
    level = (scores == edge).nonzero()[:, 0]
    best[level[: max(0, most - int(best.sum()))]] = True
    return best


def shares(tokens: Sequence[int], attention: Tensor) -> tuple[Tensor, Tensor]:
    """Of each distinct token, in order of first occurrence, what heads attend to it: ids [U], and [H, U] which adds up
    to 1 for each head. `attention` [H, L] is what they give to the occurrences, of which the mean counts."""
    places: dict[int, int] = {}
    at = torch.tensor([places.setdefault(token, len(places)) for token in tokens], device=attention.device)
    sums = attention.new_zeros(len(attention), len(places), dtype=torch.float64).index_add_(1, at, attention.double())
    counts = torch.bincount(at, minlength=len(places))
    mean = sums / counts
    ids = torch.tensor(list(places), device=attention.device)
    return ids, mean / mean.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)

"""Mirostat: what is kept follows how surprising the text has been, towards a surprise that is asked for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .nodes import Nodes

ENTRIES = (
    Entry(
        name="mirostat-1",
        family="steer",
        source="arXiv 2007.14966 (Mirostat); as in llama.cpp",
        parts="plain+mirostat_v1",
        guarantee=Guarantee.DEFINED,
        summary="as many of the best tokens as a Zipf law says, so that the text is about as surprising as asked for",
    ),
    Entry(
        name="mirostat-2",
        family="steer",
        source="arXiv 2007.14966 (Mirostat 2.0); as in llama.cpp",
        parts="plain+mirostat_v2",
        guarantee=Guarantee.DEFINED,
        summary="a bound on a token's surprise that moves until the text is about as surprising as asked for",
    ),
)

FITTED = 100  # likeliest tokens that the Zipf law is fitted to, as in llama.cpp
NATS = math.log(2)  # of one bit


class Heard(NamedTuple):
    """The bound at a node, and what was kept there."""

    bound: float  # bits
    log_p: Tensor  # [V] of the kept, among themselves; -inf where a token was removed


@dataclass(frozen=True, slots=True)
class _Mirostat(Steer):
    """A bound on surprise, -log2 of a probability, that follows the surprise of the tokens that were chosen.

    That of a token is taken among what was kept. Both work on all that penalties, masks, temperature and truncations
    leave, which llama.cpp leaves out beside them. A greedy choice leaves them out.
    """

    stage: ClassVar[Stage] = Stage.LAST
    hears: ClassVar[bool] = True

    tau: float = 5.0  # bits, above 0 to 1000: the surprise of a token that is asked for; 0 is neutral: it is left out
    eta: float = 0.1  # 0 to 1: how fast the bound follows

    def __post_init__(self) -> None:
        require(in_range(self.tau, 0, 1000), f"{self.name} with tau {self.tau}", "0 to 1000 bits, usually 5; 0 is off")
        require(in_range(self.eta, 0, 1), f"{self.name} with eta {self.eta}", "0 to 1, usually 0.1")

    @property
    def idle(self) -> bool:
        return self.tau == 0

    def begin(self, prompt: Sequence[int]) -> float:
        return 2 * self.tau

    def step(self, state: float | Heard, token: int) -> float:
        if not isinstance(state, Heard):  # nobody chose here
            return state
        surprise = -float(state.log_p[token]) / NATS
        return state.bound if surprise == math.inf else state.bound - self.eta * (surprise - self.tau)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        bounds = [state.bound if isinstance(state, Heard) else state for state in nodes.states(self)]
        bound = torch.tensor(bounds, dtype=torch.float64, device=logits.device)[:, None]  # [N, 1]
        kept = self.kept(logits, bound)
        kept.scatter_(1, logits.argmax(-1, keepdim=True), True)
        steered = torch.where(kept, logits, -torch.inf)
        heard = map(Heard, bounds, steered.log_softmax(-1))
        nodes.tell(self, range(len(nodes)), list(heard))
        return steered

    @abstractmethod
    def kept(self, logits: Tensor, bound: Tensor) -> Tensor:
        """What the bounds [N, 1] in bits leave of the tokens: bool [N, V]. The best token stays in any case."""


@dataclass(frozen=True, slots=True)
class MirostatV1(_Mirostat):
    """Keep the k best tokens and their equals; k comes of a Zipf law, fitted to the best hundred, and of a bound.

    The bound starts at twice `tau`, and falls by `eta` times what each token surprised beyond `tau`.
    """

    name: ClassVar[str] = "mirostat_v1"

    @classmethod
    def examples(cls) -> tuple[MirostatV1, ...]:
        return cls(0.0), cls(1.0, 0.5), cls(0.4, 1.0)

    def kept(self, logits: Tensor, bound: Tensor) -> Tensor:
        rows = logits.cpu().numpy()  # where the best of many are found ten times as fast
        least = [_least(row, each) for row, each in zip(rows, bound[:, 0].tolist(), strict=True)]
        return logits >= torch.tensor(least, dtype=logits.dtype, device=logits.device)[:, None]


def _least(row: NDArray[np.floating[Any]], bound: float) -> float:
    """The logit of the last token that the law and the bound leave of a row [V]."""
    size = len(row)
    few = np.sort(_best(row, min(FITTED, size)))[::-1].astype(np.float64)
    few = few[few > -np.inf]
    if len(few) < 2:
        return float(few[0])
    steps = np.log1p(1 / np.arange(1, len(few)))
    exponent = float(steps @ (few[:-1] - few[1:]) / (steps @ steps))
    beyond = exponent - 1 if abs(exponent - 1) > 1e-9 else 1e-9
    mass = -math.expm1(-beyond * math.log(size)) / beyond  # of the law, beyond its first token: above 0
    rank = math.exp(min((bound * NATS - math.log(mass)) / max(exponent, 1e-9), math.log(size)))
    rank = max(1, int(rank))
    return float(few[rank - 1] if rank <= len(few) else _best(row, rank).min())


def _best(row: NDArray[np.floating[Any]], many: int) -> NDArray[np.floating[Any]]:
    return np.partition(row, len(row) - many)[len(row) - many :]


@dataclass(frozen=True, slots=True)
class MirostatV2(_Mirostat):
    """Keep the tokens whose surprise is at most a bound.

    The bound starts at twice `tau`, and falls by `eta` times what each token surprised beyond `tau`.
    """

    name: ClassVar[str] = "mirostat_v2"

    @classmethod
    def examples(cls) -> tuple[MirostatV2, ...]:
        return cls(0.0), cls(1.0, 0.5), cls(0.4, 1.0)

    def kept(self, logits: Tensor, bound: Tensor) -> Tensor:
        return logits >= logits.logsumexp(-1, keepdim=True) - bound * NATS

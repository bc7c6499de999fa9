"""Controlled decoding, token by token: towards tokens after which a trained head expects more (arXiv 2310.17022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..models.contract import Want
from ..models.head import Head
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

RANDOM = "random:"  # and a seed

ENTRY = Entry(
    name="controlled-decoding",
    family="steer",
    number=97,
    source="arXiv 2310.17022 (controlled decoding), token-wise",
    parts="plain+controlled(random:1)",
    guarantee=Guarantee.DEFINED,
    needs=("hidden states", "a trained head"),
    summary="each token gains beta times what a head expects after it: the most reward at the least distance",
)


@dataclass(frozen=True, slots=True)
class Controlled(Steer):
    """Log-probabilities plus `beta` times the head's value of each next token: p(z) · exp(beta · Q(z)), normalised.

    The head gives the values of all tokens from the row at the node itself, so that drafted nodes cost nothing more.
    Tokens that the model itself does not count among its `most` likeliest are removed: an approximation, as the head
    learnt little of tokens that the model never took; 0 leaves all. What the head says of the text so far would be
    the same for all tokens and change nothing. An end token is judged like any other. `random:7` is a random head.
    """

    name: ClassVar[str] = "controlled"
    stage: ClassVar[Stage] = Stage.CONTRAST

    head: str | Head = "zoo/next"  # one of the zoo's, a .safetensors file, or one that is at hand
    beta: float = 1.0  # -1000 to 1000, nats per unit of reward; 0 is neutral where `most` is 0 as well
    most: int = 0  # ≥ 0, tokens that are judged; 0: all

    def __post_init__(self) -> None:
        require(in_range(self.beta, -1e3, 1e3), f"controlled with beta {self.beta}", "-1000 to 1000")
        require(self.most >= 0, f"controlled among {self.most} tokens", "at least 1; 0 for all")
        _ = self._held

    @property
    def idle(self) -> bool:
        return self.beta == 0 and self.most == 0

    @property
    def wants(self) -> Want:
        return Want(hidden=self._held.of if isinstance(self._held, Head) else (1,))

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset({self._held.outputs - 1} if isinstance(self._held, Head) else ())

    @property
    def _held(self) -> Head | int:
        """The head, or the seed of a random one."""
        if isinstance(self.head, Head):
            return self.head
        if not self.head.startswith(RANDOM):
            return Head.named(self.head)
        seed = self.head.removeprefix(RANDOM)
        require(seed.isdecimal(), f"{self.head!r} names no seed", "random:7, say")
        return int(seed)

    @classmethod
    def examples(cls) -> tuple[Controlled, ...]:
        return cls("random:1", 0.0), cls("random:1", 4.0), cls("random:2", -3.0, 5), cls("random:3", 0.0, 3)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        head = self._held
        if not isinstance(head, Head):
            head = Head.random(head, logits.shape[-1], nodes.hidden[1].shape[-1])
        head.require(nodes.hidden, logits.shape[-1])
        moved = logits + self.beta * head(nodes.hidden).to(logits.dtype)
        if not self.most:
            return moved
        least = nodes.raw.topk(min(self.most, nodes.raw.shape[-1])).values[:, -1:]
        return moved.masked_fill(nodes.raw < least, -torch.inf)

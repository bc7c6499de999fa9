"""Repetition penalty (arXiv 1909.05858)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .logits import spare, token_set
from .occurrences import occurrences
from .path import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="repetition-penalty",
    family="steer",
    source="arXiv 1909.05858 (CTRL)",
    parts="plain+repetition(1.2)",
    guarantee=Guarantee.DEFINED,
    summary="tokens of the text so far are made less likely, once each",
)


@dataclass(frozen=True, slots=True)
class Repetition(Steer):
    """Divide the positive and multiply the negative logits of tokens on the path, once per distinct token."""

    name: ClassVar[str] = "repetition"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = False

    penalty: float  # 0.01 to 100; above 1 discourages, 1 is neutral
    scope: Scope = Scope.PATH  # path (prompt and output) or output
    last: int = 0  # tokens; only the newest of the scope count, 0: all of it
    exempt: Iterable[int] = frozenset()  # kept as a frozenset; tokens never penalised, such as end tokens

    def __post_init__(self) -> None:
        require(
            in_range(self.penalty, 0.01, 100.0),
            f"repetition penalty {self.penalty} is out of range",
            "0.01 to 100; 1 changes nothing, usual values lie between 1 and 1.5",
        )
        require(self.last >= 0, f"repetition over the last {self.last} tokens", "0 (all) or more tokens")
        object.__setattr__(self, "exempt", token_set(self.exempt, "exempt from repetition"))

    @property
    def idle(self) -> bool:
        return self.penalty == 1

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.exempt)

    @classmethod
    def examples(cls) -> tuple[Repetition, ...]:
        narrow = cls(1.5, scope=Scope.OUTPUT, exempt={2})
        return cls(1.0), cls(1.25), narrow, cls(0.8, last=2)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        flat = occurrences(nodes.paths, self.scope, self.last, logits.shape[-1]).flat.to(logits.device)
        old = logits.reshape(-1)[flat]
        new = torch.where(old > 0, old / self.penalty, old * self.penalty)
        return spare(logits.reshape(-1).index_copy(0, flat, new).view_as(logits), logits, self.exempt)

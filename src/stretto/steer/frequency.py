"""Frequency and presence penalties."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .logits import spare, token_set
from .occurrences import occurrences
from .path import Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="frequency-presence",
    family="steer",
    source="the penalties of the OpenAI API",
    parts="plain+frequency(0.5,0.5)",
    guarantee=Guarantee.DEFINED,
    summary="tokens of the answer so far are made less likely, by their number and by being there",
)


@dataclass(frozen=True, slots=True)
class Frequency(Steer):
    """Lower the logit of each token of the output by frequency * its count + presence."""

    name: ClassVar[str] = "frequency"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = False

    frequency: float = 0.0  # logits per occurrence, -100 to 100, usually 0 to 2; 0 is neutral
    presence: float = 0.0  # logits, once for each token that occurs, -100 to 100, usually 0 to 2; 0 is neutral
    exempt: Iterable[int] = frozenset()  # kept as a frozenset; tokens never penalised, such as end tokens

    def __post_init__(self) -> None:
        for what, value in (("frequency", self.frequency), ("presence", self.presence)):
            require(
                in_range(value, -100.0, 100.0),
                f"{what} penalty {value} is out of range",
                "-100 to 100, usually 0 to 2; 0 changes nothing",
            )
        object.__setattr__(self, "exempt", token_set(self.exempt, "exempt from frequency"))

    @property
    def idle(self) -> bool:
        return self.frequency == 0 and self.presence == 0

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset(self.exempt)

    @classmethod
    def examples(cls) -> tuple[Frequency, ...]:
        return cls(), cls(0.5, 0.25), cls(1.5, 0.0, exempt={1}), cls(0.0, -0.5)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        seen = occurrences(nodes.paths, Scope.OUTPUT, 0, logits.shape[-1])
        cost = seen.counts.to(logits.device, logits.dtype).mul_(self.frequency).add_(self.presence)
        steered = logits.reshape(-1).index_add(0, seen.flat.to(logits.device), cost, alpha=-1).view_as(logits)
        return spare(steered, logits, self.exempt)

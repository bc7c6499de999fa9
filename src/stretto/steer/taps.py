"""What an evaluation hands out at nodes, because a steer wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from .contract import Companion


@dataclass(frozen=True, slots=True)
class Taps:
    """What an evaluation handed out at N nodes, because a steer wants it."""

    hidden: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [N, C]; 0 is the embedding
    readout: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [N, V], through the final norm and head
    # (layer from 0, query head) -> [N, L]: what each node gives to the tokens of its path, 0 beyond its end
    attention: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)
    companions: Mapping[Companion, Tensor] = field(default_factory=dict)  # -> their logits [N, V]

    def __getitem__(self, at: Sequence[int]) -> Taps:
        every: tuple[Mapping[Any, Tensor], ...] = (self.hidden, self.readout, self.attention, self.companions)
        return Taps(*({of: rows[at] for of, rows in mapping.items()} for mapping in every))


NO_TAPS = Taps()

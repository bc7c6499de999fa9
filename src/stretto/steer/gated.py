"""Gated vocabularies: the scores of each segment of the vocabulary, times a gate of its own (IGSQL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..models.contract import Want
from ..models.control_vector import unit
from ..models.edits import dots
from ..models.held import Held
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

RANDOM = "random:"  # and a seed
SEGMENTS = 3  # of random gates

ENTRY = Entry(
    name="igsql",
    family="steer",
    number=147,
    source="github.com/headacheboy/IGSQL (gated output vocabularies)",
    parts="plain+gated(random:1,1)",
    guarantee=Guarantee.DEFINED,
    needs=("hidden states", "trained gates"),
    confirmed=False,  # the published gates stand behind an encoder of schemas and earlier turns, which is not here
    summary="words of the language, of the schema and of the query before: the scores of each times a gate",
)


class Gates(Held):
    """The segment of each token, `segments` [V], and the gate of each: sigmoid(`weights` [G, C] · row + `bias` [G])."""

    names = ("segments", "weights", "bias")

    def fits(self) -> bool:
        segments, weights, bias = (self[name] for name in self.names)
        shaped = segments.dim() == 1 and weights.dim() == 2 and bias.shape == weights.shape[:1]
        return shaped and bool(torch.isin(segments, torch.arange(len(bias))).all())

    @classmethod
    def random(cls, seed: int, vocabulary: int, channels: int) -> Gates:
        """Gates of no use, for trials: tokens are of the segments in turn."""
        weights = torch.stack([unit(seed, at, channels) for at in range(SEGMENTS)])
        return cls({"segments": torch.arange(vocabulary) % SEGMENTS, "weights": weights, "bias": torch.zeros(SEGMENTS)})


@dataclass(frozen=True, slots=True)
class Gated(Steer):
    """Logits times the gate of their token's segment, or 1 - by (1 - gate) of them; one softmax over all.

    A gate scales the score itself, not the probability: one near 0 makes a likely token less likely and an unlikely
    one likelier. A segment that is not there, such as that of the query before in a first turn, is left out by
    `without`. Gates are read off the row that leaves `layer` at the node itself, so that drafted nodes cost nothing
    more. `random:7` is a random one.
    """

    name: ClassVar[str] = "gated"
    stage: ClassVar[Stage] = Stage.CONTRAST

    gates: str | Gates  # a .safetensors file, or one that is at hand
    layer: int  # at which they were trained, 0 (the embedding) to the model's last
    by: float = 1.0  # 0 to 1; 0 is neutral where no segment is left out
    without: tuple[int, ...] = ()  # numbers of segments, from 0

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 1), f"gated by {self.by}", "0 to 1")
        require(self.layer >= 0, f"gated at layer {self.layer}", "0 (the embedding) or more")
        held = self._held
        count = len(held["bias"]) if isinstance(held, Gates) else SEGMENTS
        out = {*self.without}
        require(
            out <= {*range(count)} and len(out) < count, f"gated without {self.without}", f"some of 0 to {count - 1}"
        )

    @property
    def idle(self) -> bool:
        return self.by == 0 and not self.without

    @property
    def wants(self) -> Want:
        return Want(hidden=(self.layer,))

    @property
    def named_tokens(self) -> frozenset[int]:
        return frozenset({len(self._held["segments"]) - 1} if isinstance(self._held, Gates) else ())

    @property
    def _held(self) -> Gates | int:
        """The gates, or the seed of random ones."""
        if isinstance(self.gates, Gates):
            return self.gates
        if not self.gates.startswith(RANDOM):
            return Gates.read(self.gates)
        seed = self.gates.removeprefix(RANDOM)
        require(seed.isdecimal(), f"{self.gates!r} names no seed", "random:7, say")
        return int(seed)

    @classmethod
    def examples(cls) -> tuple[Gated, ...]:
        return cls("random:1", 1, 0.0), cls("random:1", 1), cls("random:2", 2, 0.5), cls("random:3", 2, 0.0, (1,))

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        rows = nodes.hidden[self.layer]  # [N, C]
        held, size = self._held, logits.shape[-1]
        gates = held if isinstance(held, Gates) else Gates.random(held, size, rows.shape[-1])
        fit = (len(gates["segments"]), gates["weights"].shape[1]) == (size, rows.shape[-1])
        require(fit, f"{gates.name} is of another model", "gates serve the model that they were trained on")
        segments = gates["segments"].to(logits.device, torch.int64)  # [V]
        opened = (dots(rows, gates["weights"]) + gates["bias"].to(rows.device)).sigmoid()  # [N, G]
        factors = 1 - self.by * (1 - opened[:, segments])
        scaled = torch.where(logits == -math.inf, logits, logits * factors.to(logits.dtype))
        out = torch.isin(segments, torch.tensor(self.without, device=segments.device))
        return scaled.masked_fill(out, -math.inf)

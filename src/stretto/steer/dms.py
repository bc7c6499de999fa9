"""DMS: away from recall where a probe says that the model recites (arXiv 2510.22099)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..errors import Unsupported
from ..models.contract import Model
from ..models.control_vector import unit
from ..models.edits import Edit, dots
from ..models.held import Held
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

RANDOM = "random:"  # and a seed

ENTRY = Entry(
    name="mode-steering",
    family="steer",
    number=133,
    source="arXiv 2510.22099 (dynamic mode steering)",
    parts="plain+dms(random:1,1,gate=0.4)",
    guarantee=Guarantee.DEFINED,
    needs=("edits of the residual stream", "a trained probe"),
    confirmed=False,  # how the layer is chosen, and how the edit is scaled
    summary="at one layer, a probe that sees recitation moves the row towards where the model generalises",
)


class Probe(Held):
    """A linear probe of one layer, and where to move: `weights` [C], `bias` [1], `direction` [C] of length 1."""

    names = ("weights", "bias", "direction")

    def fits(self) -> bool:
        return (
            self["weights"].dim() == 1
            and self["bias"].shape == (1,)
            and self["weights"].shape == self["direction"].shape
        )


@dataclass(frozen=True, slots=True)
class Moved(Edit):
    """Rows that the probe counts as recited, moved along its direction."""

    probe: Probe | int  # a random one, by its seed
    layer: int
    strength: float
    gate: float
    norm: bool

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        weights, bias, direction = self._probe(rows.shape[-1])
        wide = rows.double()
        recited = (dots(rows, weights[None]) + bias.to(rows.device)).sigmoid()  # [N, 1]
        moved = wide + self.strength * recited * direction.to(rows.device, torch.float64)
        if self.norm:
            before, after = ((each * each).sum(-1, keepdim=True) for each in (wide, moved))
            moved = moved * (before / after.clamp(min=torch.finfo(torch.float64).tiny)).sqrt()
        return torch.where(recited > self.gate, moved.to(rows.dtype), rows)

    def _probe(self, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(self.probe, Probe):
            return self.probe["weights"], self.probe["bias"].double(), self.probe["direction"]
        return unit(self.probe, 0, channels), torch.zeros(1, dtype=torch.float64), unit(self.probe, 1, channels)

    def check(self, model: Model) -> None:
        if isinstance(self.probe, Probe) and len(self.probe["weights"]) != model.channels:
            raise Unsupported(
                f"{self.probe.name} is of {len(self.probe['weights'])} channels, {model.name} has {model.channels}",
                hint="a probe serves the model that it was trained on",
            )
        Edit.check(self, model)


@dataclass(frozen=True, slots=True)
class Dms(Steer):
    """Where the probe's m = sigmoid(weights · row + bias) is above `gate`, add `strength` times m times its direction.

    At every token, of the prompt as well. The row keeps its length, so that what is added at each step does not grow;
    `norm=False` leaves it longer. `train.probe` makes a probe of two kinds of prompts. `random:7` is a random one.
    """

    name: ClassVar[str] = "dms"
    stage: ClassVar[Stage] = Stage.CONTRAST

    probe: str | Probe  # a .safetensors file, or one that is at hand
    layer: int  # at which it was trained, 0 (the embedding) to the model's last
    strength: float = 4.0  # -10000 to 10000; 0 is neutral, below it leads to recitation
    gate: float = 0.5  # 0 to 1: how sure the probe must be
    norm: bool = True  # whether rows keep their length

    def __post_init__(self) -> None:
        require(in_range(self.strength, -1e4, 1e4), f"dms with strength {self.strength}", "-10000 to 10000")
        require(in_range(self.gate, 0, 1), f"dms with gate {self.gate}", "0 to 1")
        require(self.layer >= 0, f"dms at layer {self.layer}", "0 (the embedding) or more")
        _ = self.edits

    @property
    def idle(self) -> bool:
        return self.strength == 0

    @property
    def edits(self) -> tuple[Edit, ...]:
        probe: Probe | int
        if isinstance(self.probe, str) and self.probe.startswith(RANDOM):
            seed = self.probe.removeprefix(RANDOM)
            require(seed.isdecimal(), f"{self.probe!r} names no seed", "random:7, say")
            probe = int(seed)
        else:
            probe = Probe.read(self.probe) if isinstance(self.probe, str) else self.probe
        return (Moved(probe, self.layer, self.strength, self.gate, self.norm),)

    @classmethod
    def examples(cls) -> tuple[Dms, ...]:
        return cls("random:1", 1, 0.0), cls("random:1", 1, 8.0, 0.4), cls("random:2", 2, -8.0, 0.4, norm=False)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits

"""Features of a sparse autoencoder, turned up or down (repeat curse, arXiv 2504.14218)."""

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
    name="repeat-features",
    family="steer",
    number=159,
    source="arXiv 2504.14218 (the repeat curse from a feature perspective); kaustpradalab/repeat-curse-llm",
    parts="plain+mitigate(random:1,1,features=(0,1))",
    guarantee=Guarantee.DEFINED,
    needs=("edits of the residual stream", "a sparse autoencoder"),
    summary="features of a layer turned off (mitigate) or up (induce), such as those that make a model repeat itself",
)


class Sae(Held):
    """A sparse autoencoder of one layer: features are relu((row - b_dec) W_enc + b_enc), the row nearly W_dec of them.

    The names and shapes are those of SAELens: `W_enc` [C, F], `b_enc` [F], `W_dec` [F, C], `b_dec` [C].
    """

    names = ("W_enc", "b_enc", "W_dec", "b_dec")

    def fits(self) -> bool:
        shapes = [tuple(self[name].shape) for name in self.names]
        if [len(shape) for shape in shapes] != [2, 1, 2, 1]:
            return False
        channels, features = shapes[0]
        return shapes[1:] == [(features,), (features, channels), (channels,)]


@dataclass(frozen=True, slots=True)
class Turned(Edit):
    """Of some features, `strength` times their directions added to rows, and `share` of what they make of these off."""

    sae: Sae | int  # a random one, by its seed
    layer: int
    features: tuple[int, ...]
    strength: float
    share: float

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        read, bias, written, middle = (each.to(rows.device, torch.float64) for each in self._features(rows.shape[-1]))
        change = (self.strength * written).sum(0).expand(rows.shape)
        if self.share:
            active = (dots(rows.double() - middle, read) + bias).relu()  # [N, R]
            change = change - self.share * (active[:, :, None] * written).sum(1)
        return (rows.double() + change).to(rows.dtype)

    def _features(self, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What reads the features [R, C], their bias [R], what they write [R, C], and what is taken off before [C]."""
        if isinstance(self.sae, Sae):
            at = list(self.features)
            return self.sae["W_enc"].T[at], self.sae["b_enc"][at], self.sae["W_dec"][at], self.sae["b_dec"]
        both = torch.stack([unit(self.sae, feature, channels) for feature in self.features])
        return both, torch.zeros(len(both)), both, torch.zeros(channels)

    def check(self, model: Model) -> None:
        if isinstance(self.sae, Sae) and len(self.sae["b_dec"]) != model.channels:
            raise Unsupported(
                f"{self.sae.name} is of {len(self.sae['b_dec'])} channels, {model.name} has {model.channels}",
                hint="an autoencoder serves the model that it was trained on",
            )
        Edit.check(self, model)


@dataclass(frozen=True, slots=True)
class Induce(Steer):
    """Add `strength` times the directions of some features to the rows of a layer, at every token.

    `random:7` stands for features of random directions, each its own: what a choice of features is to be compared with.
    """

    name: ClassVar[str] = "induce"
    stage: ClassVar[Stage] = Stage.CONTRAST

    sae: str | Sae  # a .safetensors file, or one that is at hand
    layer: int  # 0 (the embedding) to the model's last
    features: tuple[int, ...] = ()  # numbers from 0; none: nothing changes
    strength: float = 1.0  # -10000 to 10000; 0 is neutral, usual is once or twice a feature's largest value

    def __post_init__(self) -> None:
        require(in_range(self.strength, -1e4, 1e4), f"induce with strength {self.strength}", "-10000 to 10000")
        _check(self.sae, self.layer, self.features)

    @property
    def idle(self) -> bool:
        return self.strength == 0 or not self.features

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Turned(_sae(self.sae), self.layer, self.features, self.strength, 0.0),) if self.features else ()

    @classmethod
    def examples(cls) -> tuple[Induce, ...]:
        return cls("random:1", 1), cls("random:1", 2, (0, 4), 6.0), cls("random:1", 1, (2,), -8.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


@dataclass(frozen=True, slots=True)
class Mitigate(Steer):
    """Take off what some features make of the rows of a layer, at every token; what the autoencoder misses stays."""

    name: ClassVar[str] = "mitigate"
    stage: ClassVar[Stage] = Stage.CONTRAST

    sae: str | Sae  # a .safetensors file, or one that is at hand
    layer: int  # 0 (the embedding) to the model's last
    features: tuple[int, ...] = ()  # numbers from 0; none: nothing changes
    share: float = 1.0  # -100 to 100: how much of it; 1 turns them off, 0 is neutral, below it they count more

    def __post_init__(self) -> None:
        require(in_range(self.share, -100, 100), f"mitigate with share {self.share}", "-100 to 100")
        _check(self.sae, self.layer, self.features)

    @property
    def idle(self) -> bool:
        return self.share == 0 or not self.features

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Turned(_sae(self.sae), self.layer, self.features, 0.0, self.share),) if self.features else ()

    @classmethod
    def examples(cls) -> tuple[Mitigate, ...]:
        return cls("random:1", 1), cls("random:1", 1, (0, 1, 2, 3, 4)), cls("random:2", 2, (3, 0), -4.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


def _sae(value: str | Sae) -> Sae | int:
    if isinstance(value, Sae):
        return value
    if value.startswith(RANDOM):
        seed = value.removeprefix(RANDOM)
        require(seed.isdecimal(), f"{value!r} names no seed", "random:7, say")
        return int(seed)
    return Sae.read(value)


def _check(value: str | Sae, layer: int, features: tuple[int, ...]) -> None:
    """Raise InvalidRequest where the settings name what there is not."""
    require(layer >= 0, f"features of layer {layer}", "0 (the embedding) or more")
    sae = _sae(value)
    most = len(sae["b_enc"]) if isinstance(sae, Sae) else 1 << 20
    wrong = next((feature for feature in features if not 0 <= feature < most), None)
    require(wrong is None, f"{value} has no feature {wrong}", f"0 to {most - 1}")

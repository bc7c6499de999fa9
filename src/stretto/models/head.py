"""A small trained network over rows that leave layers of a model: how good what follows will be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from ..errors import Unsupported
from .contract import Ability, Model
from .edits import dots
from .held import Held

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = "zoo/"  # begins the name of one that comes with the package
TRAINED = "a head serves the model that it was trained on"


class Head(Held):
    """leave · relu(enter · rows + bias) + level, rows [N, C] of each of the layers side by side.

    `layers` [n], 0 being the embedding; `enter` [H, n · C], `bias` [H], `leave` [A, H], `level` [A]. One output (A = 1)
    judges the text up to the row; as many as there are tokens judge each token that may come next.
    """

    names = ("layers", "enter", "bias", "leave", "level")

    def fits(self) -> bool:
        layers, enter, bias, leave, level = (self[each] for each in self.names)
        return (
            layers.dim() == bias.dim() == level.dim() == 1
            and enter.dim() == leave.dim() == 2
            and len(layers) > 0
            and enter.shape[1] % len(layers) == 0
            and len(enter) == len(bias) == leave.shape[1]
            and len(leave) == len(level) > 0
        )

    @property
    def of(self) -> tuple[int, ...]:
        """The layers."""
        return tuple(int(layer) for layer in self["layers"])

    @property
    def outputs(self) -> int:
        """A."""
        return len(self["level"])

    def __call__(self, hidden: Mapping[int, Tensor]) -> Tensor:
        """What it says of rows [N, C] by layer: [N, A] float64."""
        rows = torch.cat([hidden[layer] for layer in self.of], -1)
        enter, bias, leave, level = (self[each].to(rows.device) for each in self.names[1:])
        return dots((dots(rows, enter) + bias).relu(), leave) + level

    def check(self, model: Model) -> None:
        """Raise Unsupported where it is not of this model."""
        if Ability.HIDDEN not in model.abilities:
            raise Unsupported(f"{model.name} shows no rows of its layers", hint="use a model of known layers")
        if not 0 <= min(self.of) <= max(self.of) <= model.layers:
            raise Unsupported(f"{self.name} is of layer {max(self.of)}, {model.name} has {model.layers}", hint=TRAINED)
        self.require(dict.fromkeys(self.of, torch.empty(0, model.channels)), model.vocabulary)

    def require(self, hidden: Mapping[int, Tensor], vocabulary: int) -> None:
        """The same of rows [N, C] by layer, and how many tokens there are."""
        channels = sum(hidden[layer].shape[-1] for layer in self.of)
        if channels != self["enter"].shape[1] or self.outputs not in (1, vocabulary):
            raise Unsupported(
                f"{self.name} is of {self['enter'].shape[1]} channels and {self.outputs} outputs, there are {channels}"
                f" channels and {vocabulary} tokens",
                hint=TRAINED,
            )

    @classmethod
    def named(cls, name: str | Path) -> Self:
        """One that ships with the package (`zoo/value`), or of a file. Raises ModelError, UnknownName."""
        from .. import zoo

        text = str(name)
        return cls.read(zoo.head(text.removeprefix(SHIPPED)) if text.startswith(SHIPPED) else name)

    @classmethod
    @cache
    def random(cls, seed: int, outputs: int, channels: int, layer: int = 1, hidden: int = 8) -> Self:
        """One of random weights, the same for the same numbers: for laws."""
        chance = torch.Generator().manual_seed(seed)
        enter = torch.randn(hidden, channels, generator=chance) / channels**0.5
        leave = torch.randn(outputs, hidden, generator=chance)
        parts = {"layers": [layer], "enter": enter, "bias": [0.0] * hidden, "leave": leave, "level": [0.0] * outputs}
        return cls(parts, f"random:{seed}")

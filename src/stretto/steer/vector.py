"""Control vectors: directions that are added to the rows of layers (arXiv 2310.01405, 2308.10248)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.control_vector import Added, ControlVector, Random
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.edits import Edit
    from .nodes import Nodes

RANDOM = "random:"  # and a seed
LAST = 1 << 16  # no model has so many layers

ENTRY = Entry(
    name="control-vector",
    family="steer",
    source="arXiv 2310.01405 (representation engineering); files of llama.cpp and repeng",
    parts="plain+vector(random:1,4,last=2)",
    guarantee=Guarantee.DEFINED,
    needs=("edits of the residual stream",),
    summary="a direction for each of some layers, added to what leaves it, times a strength",
)


@dataclass(frozen=True, slots=True)
class Vector(Steer):
    """Add `strength` times a vector's directions to the rows that leave its layers, of the prompt and of the answer.

    Several vectors add up. `random:7` stands for random directions of length 1 by that seed, of the layers `first` to
    `last`: what a vector is to be compared with.
    """

    name: ClassVar[str] = "vector"
    stage: ClassVar[Stage] = Stage.CONTRAST

    vector: str | ControlVector  # a .gguf or .safetensors file, or one that is at hand
    strength: float = 1.0  # -10000 to 10000; 0 is neutral, below it leads the other way
    first: int = 1  # layer, >= 0; layers before it are left out
    last: int | None = None  # layer, >= first; None: the vector's last, and of random ones `first`

    def __post_init__(self) -> None:
        require(in_range(self.strength, -1e4, 1e4), f"vector with strength {self.strength}", "-10000 to 10000")
        require(self.first >= 0, f"vector from layer {self.first} on", "0 (the embedding) or more")
        require(self.last is None or self.last >= self.first, f"vector up to layer {self.last}", "not before the first")
        require(bool(self._edit.layers), f"{self.vector} has no layer from {self.first} on", "take in more layers")

    @property
    def _edit(self) -> Added | Random:
        if isinstance(self.vector, str) and self.vector.startswith(RANDOM):
            seed = self.vector.removeprefix(RANDOM)
            require(seed.isdecimal(), f"{self.vector!r} names no seed", "random:7, say")
            return Random(int(seed), self.strength, self.first, self.first if self.last is None else self.last)
        held = ControlVector.read(self.vector) if isinstance(self.vector, str) else self.vector
        return Added(held, self.strength, self.first, LAST if self.last is None else self.last)

    @property
    def idle(self) -> bool:
        return self.strength == 0

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (self._edit,)

    @classmethod
    def examples(cls) -> tuple[Vector, ...]:
        return cls("random:1", 0.0), cls("random:1", 6.0), cls("random:2", -4.0, first=0, last=2)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


def vector_of(value: str | Path | ControlVector | Vector) -> Vector:
    """A vector by its file, by 'FILE:strength', or one that is at hand. Raises InvalidRequest or ModelError."""
    if isinstance(value, Vector):
        return value
    if isinstance(value, ControlVector):
        return Vector(value)
    text = str(value)
    file, colon, strength = text.rpartition(":")
    if not colon or file == RANDOM[:-1]:
        return Vector(text)
    try:
        return Vector(file, float(strength))
    except ValueError:
        return Vector(text)

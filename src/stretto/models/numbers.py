"""How a model computes: what its answers owe to rounding, and what a figure measured on it stands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .contract import Model


TIE = 1e-4  # scores nearer than this may swap by rounding in float32; further apart they may not


@dataclass(frozen=True, slots=True)
class Numbers:
    """Form of the numbers, and the kernels of the products."""

    dtype: str  # of weights and rows, such as float32
    blocks: str = ""  # the kinds of blocks that weights are held in, if any: rows are rounded to eight bits then
    bits: bool = False  # a row's results have the same bits whatever stands beside it, in windows of any size
    settled: bool = False  # kernels were chosen by rule: each load chooses the same; else by the clock
    kernels: Mapping[str, str] = field(default_factory=dict)  # by kind of product; empty: torch's own
    store: str = ""  # the form in which keys and values are rounded, if any

    @property
    def rounded(self) -> str:
        """What rounds so coarsely that windows of unlike size may choose unlike tokens; empty: nothing does."""
        dtype = "" if self.dtype in ("float32", "float64") else self.dtype
        return "" if self.bits else self.blocks or self.store or dtype


def numbers_of(model: Model) -> Numbers:
    """How a model computes; a model that does not say computes in its dtype, by torch's own kernels."""
    found: Numbers | None = getattr(model, "numbers", None)
    return found or Numbers(str(model.dtype).removeprefix("torch."))


def weights_of(model: Model) -> int:
    """About how many a forward reads."""
    return 12 * model.layers * model.channels**2 + model.vocabulary * model.channels

"""No early stop: the whole canvas is filled, and cut at the first end token afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..contract import Canvas, Delta, Stop, Stopping
from ..proposal import Proposal


@dataclass(frozen=True, slots=True)
class Fill(Stop):
    """The reference: as the published samplers do. A stop string ends a row as soon as the text before it is known."""

    name: ClassVar[str] = "fill"
    fills: ClassVar[bool] = False

    def open(self, canvas: Canvas, context: Context) -> Stopping:
        return Filling()


class Filling(Stopping):
    """Remembers nothing."""

    def ended(self, canvas: Canvas, proposal: Proposal) -> Delta | None:
        return None

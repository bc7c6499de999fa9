"""The same room in every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest
from ...row import Row
from ..contract import Drafting, Planner, Planning, Room


@dataclass(frozen=True, slots=True)
class Fixed(Planner):
    """Always `nodes` nodes, at most `depth` deep (0: as deep as there are nodes)."""

    nodes: int = 8  # ≥ 0
    depth: int = 0  # ≥ 0

    name: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        if self.nodes < 0 or self.depth < 0:
            raise InvalidRequest(f"fixed({self.nodes}, {self.depth})", hint="nodes >= 0 and depth >= 0")

    @property
    def repeats(self) -> bool:
        return True

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        return FixedPlanning(Room(self.nodes, self.depth or self.nodes))


class FixedPlanning(Planning):
    """Has learnt all it will."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        return [self._room] * len(rows)

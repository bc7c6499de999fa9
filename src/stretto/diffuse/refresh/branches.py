"""Block-wise adaptive caching: parts of the network are computed at some steps, and reused at the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Ability
from ...models.window import Branch
from ..branch_schedule import PARTS, Schedule, uniform
from ..caching import require_bidirectional, require_no_rechecks
from ..canvas import Canvas, Span
from ..contract import World
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState

ENTRY = Entry(
    name="bac",
    family="diffusion",
    source="arXiv 2506.13456; third-party code",
    parts="ascending+branch-cache",
    guarantee=Guarantee.APPROXIMATE,
    number=264,
    needs=("masked-diffusion model that sees its whole canvas", "calibrated schedule (optional)"),
    summary="attentions and MLPs run at the steps of a schedule; between them what they added last is added again",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class BranchCache(Refresh):
    """All positions at each step, but of each attention and MLP only the steps that a schedule names.

    The schedule comes from `stretto train branches`; without one the steps are spread evenly. As many updates as
    steps are no cache. Token-forwards count all positions, though less of the network is computed for them.
    """

    schedule: str = ""  # its file; none: even steps
    updates: int = 8  # of the even steps, at how many everything is computed, ≥ 1
    steps: int = 0  # of the whole decode, ≥ 1; 0: one for each position

    name: ClassVar[str] = "branch-cache"

    def __post_init__(self) -> None:
        if self.updates < 1 or self.steps < 0:
            raise InvalidRequest(f"{self.updates} updates in {self.steps} steps", hint="1 or more; 0 steps: as needed")

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)
        require_no_rechecks(world, self.name)
        if Ability.BRANCHES not in world.model.abilities:
            raise Unsupported(
                f"{world.model.name} does not let its attentions and MLPs be left out",
                hint="use a Llama-shaped checkpoint, or 'dual-cache'",
            )
        if self.schedule:
            found = Schedule.read(Path(self.schedule))
            if set(found.updates) != set(_branches(world.model.layers)):
                raise InvalidRequest(f"{self.schedule} is of another model", hint="calibrate it with this one")

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        branches = _branches(context.target.layers)
        if self.schedule:
            return BranchState(Schedule.read(Path(self.schedule)))
        return BranchState(uniform(branches, self.steps or max(1, canvas.total), self.updates))


class BranchState(RefreshState):
    """Remembers the schedule, and of how long a canvas the branches are stored."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.size = 0

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        everything = len(canvas) != self.size or canvas.step >= self.schedule.steps
        self.size = len(canvas)
        due = {branch for branch, steps in self.schedule.updates.items() if everything or canvas.step in steps}
        rest = tuple(branch for branch in self.schedule.updates if branch not in due)
        store = tuple(branch for branch in self.schedule.updates if branch in due)
        return Plan(np.arange(len(canvas)), store=store, reuse=rest)


def _branches(layers: int) -> list[Branch]:
    return [(layer, part) for layer in range(layers) for part in PARTS]

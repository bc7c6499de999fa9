"""Calibrates when attentions and MLPs are computed and when they are reused (arXiv 2506.13456).

The schedule holds for the model, the method and the length of canvas that it was made with:

    schedule = calibrate(engine, prompts, method.parse("ascending"), updates=3, max_new_tokens=64, end_tokens=())
    schedule.write(Path("schedule.json"))               # then: ascending+branch-cache(schedule.json)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..context import Context
from ..diffuse.branch_schedule import PARTS, Schedule, best_updates, bubble
from ..diffuse.canvas import Canvas, Span
from ..diffuse.contract import World
from ..diffuse.method import Diffuse
from ..diffuse.prediction import Positions
from ..diffuse.refresh.branches import BranchCache
from ..diffuse.refresh.contract import Observation, Plan, Refresh, RefreshState
from ..engine import Engine, Prompt
from ..errors import InvalidRequest
from ..models.window import Branch

Record = dict[Branch, list[Tensor]]  # [L, C] of each step


@dataclass(frozen=True, slots=True)
class Recording(Refresh):
    """Computes everything, and writes down what each branch adds at each step; one record per row."""

    records: list[Record] = field(default_factory=list)

    name: ClassVar[str] = "recording"

    def check(self, world: World) -> None:
        BranchCache().check(world)

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        self.records.append({(layer, part): [] for layer in range(context.target.layers) for part in PARTS})
        return RecordingState(self.records[-1])


class RecordingState(RefreshState):
    """Writes one record."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        return Plan(np.arange(len(canvas)), store=tuple(self.record))

    def read(self, canvas: Canvas, seen: Observation) -> None:
        order = torch.from_numpy(np.argsort(seen.rows))
        for branch, steps in self.record.items():
            steps.append(seen.branches[branch].float().cpu()[order])


def calibrate(
    engine: Engine,
    prompts: Sequence[Prompt],
    method: Diffuse,
    updates: int,
    *,
    volatile: int = 3,
    **settings: Any,
) -> Schedule:
    """The schedule of so many updates for a method, all of whose decodes take the same number of steps.

    `volatile`: of how many MLPs the updates pass on to the ones before. What one decode adds at all its steps is held
    in memory: steps × layers × 2 × positions × channels numbers.
    Raises InvalidRequest where decodes differ in length, and where there is none.
    """
    lengths: set[int] = set()
    alike: dict[Branch, list[NDArray[np.float64]]] = {}  # [T, T] of each decode
    restless: dict[int, list[float]] = {}  # by layer, of its MLP: of each decode
    for prompt in tqdm(prompts, unit="answer", leave=False, disable=None, delay=2):
        recording = Recording()
        engine.generate(prompt, replace(method, refresh=recording), **settings)
        for record in recording.records:
            for branch, steps in record.items():
                lengths.add(len(steps))
                features = torch.stack(steps)  # [T, L, C]
                alike.setdefault(branch, []).append(_alike(features))
                if branch[1] == "mlp":
                    distances = torch.pdist(features.flatten(1), 1)
                    restless.setdefault(branch[0], []).append(float(distances.mean()) if len(distances) else 0.0)
    if len(lengths) != 1:
        raise InvalidRequest(f"decodes of {sorted(lengths)} steps", hint="an order with a fixed number of steps")
    (steps_each,) = lengths
    found = {branch: set(best_updates(np.mean(each, axis=0), updates)[0]) for branch, each in alike.items()}
    volatility = {layer: float(np.mean(each)) for layer, each in restless.items()}
    passed = bubble({layer: found[layer, "mlp"] for layer in volatility}, volatility, volatile)
    found.update({(layer, "mlp"): kept for layer, kept in passed.items()})
    return Schedule(steps_each, {branch: frozenset(kept) for branch, kept in found.items()})


def _alike(features: Tensor) -> NDArray[np.float64]:
    """Cosines between each two steps, the mean over tokens: large norms do not outweigh the others [T, T]."""
    unit = torch.nn.functional.normalize(features, dim=-1)
    similarity: NDArray[np.float64] = (torch.einsum("tlc,slc->ts", unit, unit) / features.shape[1]).double().numpy()
    return similarity

"""Calibrates when attentions and MLPs are computed and when they are reused (arXiv 2506.13456)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..diffuse.contract import Canvas, Plan, Reading, Refresh, Refreshing, Span, World
from ..diffuse.loop import Diffuse
from ..diffuse.proposal import Positions
from ..diffuse.refresh.branches import BranchCache
from ..diffuse.schedules import PARTS, Schedule, best_updates, bubble
from ..engine import Engine
from ..errors import InvalidRequest
from ..models.contract import Branch
from ..speculate.contract import Context

Record = dict[Branch, list[Tensor]]  # [L, C] of each step


@dataclass(frozen=True, slots=True)
class Recording(Refresh):
    """Computes everything, and writes down what each branch adds at each step; one record per row."""

    records: list[Record] = field(default_factory=list)

    name: ClassVar[str] = "recording"

    def check(self, world: World) -> None:
        BranchCache().check(world)

    def open(self, canvas: Canvas, context: Context) -> Refreshing:
        self.records.append({(layer, part): [] for layer in range(context.target.layers) for part in PARTS})
        return RecordingRefreshing(self.records[-1])


class RecordingRefreshing(Refreshing):
    """Writes one record."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        return Plan(np.arange(len(canvas)), store=tuple(self.record))

    def read(self, canvas: Canvas, reading: Reading) -> None:
        order = torch.from_numpy(np.argsort(reading.rows))
        for branch, steps in self.record.items():
            steps.append(reading.branches[branch].float().cpu()[order])


def calibrate(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    method: Diffuse,
    updates: int,
    *,
    volatile: int = 3,
    **settings: int,
) -> Schedule:
    """The schedule of so many updates for a method, all of whose decodes take the same number of steps.

    `volatile`: of how many MLPs the updates pass on to the ones before. Features of all steps are held in memory.
    Raises InvalidRequest where decodes differ in length.
    """
    recording = Recording()
    for prompt in prompts:
        engine.generate(list(prompt), replace(method, refresh=recording), **settings)
    lengths = {len(steps) for record in recording.records for steps in record.values()}
    if len(lengths) != 1:
        raise InvalidRequest(f"decodes of {sorted(lengths)} steps", hint="an order with a fixed number of steps")
    (steps,) = lengths
    found: dict[Branch, set[int]] = {}
    volatility: dict[int, float] = {}
    for branch, features in _gathered(recording.records):
        similarity = np.mean([_alike(each) for each in features], axis=0)
        found[branch] = set(best_updates(similarity, updates)[0])
        if branch[1] == "mlp":
            volatility[branch[0]] = float(np.mean([torch.pdist(each.flatten(1), 1).mean() for each in features]))
    passed = bubble({layer: found[layer, "mlp"] for layer in volatility}, volatility, volatile)
    found.update({(layer, "mlp"): kept for layer, kept in passed.items()})
    return Schedule(steps, {branch: frozenset(kept) for branch, kept in found.items()})


def _gathered(records: Sequence[Record]) -> Iterator[tuple[Branch, list[Tensor]]]:
    """Each branch with its features [T, L, C] of each decode."""
    for branch in records[0]:
        yield branch, [torch.stack(record[branch]) for record in records]


def _alike(features: Tensor) -> np.ndarray:
    """Cosines between each two steps, the mean over tokens: large norms do not outweigh the others [T, T]."""
    unit = torch.nn.functional.normalize(features, dim=-1)
    similarity: np.ndarray = (torch.einsum("tlc,slc->ts", unit, unit) / features.shape[1]).double().numpy()
    return similarity

"""Prompts of real work, kind by kind, from the files of published benchmarks: what people ask a model to do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...engine import Engine
from ...errors import InvalidRequest
from ..contestants import Case
from ..subject import encode
from ..tasks import BenchTask


@dataclass(slots=True)
class Prompts:
    """What all contestants are asked, kinds in turn."""

    cases: list[Case] = field(default_factory=list)  # `category` is the kind
    spare: list[Case] = field(default_factory=list)  # to warm up with: never measured
    long: dict[str, int] = field(default_factory=dict)  # of each kind: passed over, too long for the positions
    skipped: dict[str, str] = field(default_factory=dict)  # kind -> why there is none


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many prompts, and which."""

    count: int  # of each kind, ≥ 1
    spare: int  # to warm up with, ≥ 1, of any kinds
    room: int  # positions that are left for the answer, ≥ 1
    seed: int

    def collect(self, engine: Engine, chosen: Mapping[str, Sequence[BenchTask]]) -> Prompts:
        """The prompts, as the engine's tokenizer and chat template have them; fewer where the files hold fewer."""
        found, sources = Prompts(), {}
        for kind, members in chosen.items():
            there = [task for task in members if not task.absent]
            if there:
                found.long[kind] = 0
                sources[kind] = self._fitting(engine, kind, there, found)
            else:
                found.skipped[kind] = members[0].absent
        for _ in range(self.count):
            found.cases += itertools.chain.from_iterable(itertools.islice(source, 1) for source in sources.values())
        rest = itertools.chain.from_iterable(zip(*sources.values(), strict=False))
        found.spare = list(itertools.islice(rest, self.spare))
        return found

    def _fitting(self, engine: Engine, kind: str, members: Sequence[BenchTask], found: Prompts) -> Iterator[Case]:
        """Prompts of a kind, its tasks in turn."""
        rows = itertools.zip_longest(*(task.exercises(self.seed) for task in members))
        for exercise in filter(None, itertools.chain.from_iterable(rows)):
            try:
                prompt = encode(engine, exercise)
            except InvalidRequest:  # longer than the model's positions
                prompt = [0] * engine.model.max_positions
            if len(prompt) + self.room > engine.model.max_positions:
                found.long[kind] += 1
            else:
                yield Case(prompt, [], forced=False, category=kind)

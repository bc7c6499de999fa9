"""ParallelBench (arXiv 2510.04767): what is easy word by word, and hard for whoever writes several words at once.

`diagnose.parallel` says of each kind what writing at once can reach at best.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ...gym.parallel import KINDS, LENGTH, write
from .contract import Exercise

MOST = 256  # exercises of one kind: far more than are ever asked for


@dataclass(frozen=True, slots=True)
class ParallelTask:
    """One kind of its questions; every right answer counts."""

    kind: str
    length: int = LENGTH  # words of its lists, 3 … 8; all equally long, since what is within reach depends on it
    absent: str = ""

    @property
    def name(self) -> str:
        """As the benchmark calls it."""
        return f"parallel:{self.kind}"

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """Different questions."""
        rng = random.Random(f"{self.name}/{seed}")
        seen: set[str] = set()
        while len(seen) < MOST:
            asked = write(self.kind, rng, self.length)
            if asked.prompt not in seen:
                seen.add(asked.prompt)
                yield Exercise(asked.prompt, solved=asked.solved, answer=asked.answer)


def parallel_tasks() -> list[ParallelTask]:
    """Every kind."""
    return [ParallelTask(kind) for kind in KINDS]

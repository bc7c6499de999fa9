"""The tasks of the benchmark by name: `gym:KIND`, `replay:SOURCE`, a whole family, or `all`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from ...errors import UnknownName
from .contract import BenchTask, Exercise
from .gym import gym_tasks
from .replay import replay_tasks

__all__ = ["BenchTask", "Exercise", "select"]


def select(names: Sequence[str], data: Path | None) -> list[BenchTask]:
    """The tasks that `names` name, each once; `data` is the folder of the replay sources.

    Raises UnknownName with the closest name.
    """
    known: list[BenchTask] = [*gym_tasks(), *replay_tasks(data)]
    chosen: list[BenchTask] = []
    for name in names:
        found = [task for task in known if name in ("all", task.name, task.name.partition(":")[0])]
        if not found:
            near = difflib.get_close_matches(name, [task.name for task in known], n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else "gym, replay or all"
            raise UnknownName(f"no benchmark task is named {name!r}", hint=hint)
        chosen.extend(task for task in found if task not in chosen)
    return chosen

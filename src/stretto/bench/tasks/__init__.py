"""The tasks of the benchmark by name, `gym:KIND`, `replay:SOURCE`, `spec:CATEGORY` …, or a whole family."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from ...errors import UnknownName
from .checked import checked_tasks
from .contract import BenchTask, Exercise
from .gym import gym_tasks
from .parallel import parallel_tasks
from .questions import question_tasks
from .replay import replay_tasks

__all__ = ["BenchTask", "Exercise", "select"]


def select(names: Sequence[str], data: Path | None) -> list[BenchTask]:
    """The tasks that `names` name, each once; `data` is the folder of the benchmark files.

    `all` is the gym and the replays: the other sets want a checkpoint that can hold a conversation, and are measured
    when they are named. Raises UnknownName with the closest name.
    """
    usual: list[BenchTask] = [*gym_tasks(), *replay_tasks(data)]
    known: list[BenchTask] = [*usual, *parallel_tasks(), *question_tasks(data), *checked_tasks(data)]
    chosen: list[BenchTask] = []
    for name in names:
        found = usual if name == "all" else [t for t in known if name in (t.name, t.name.partition(":")[0])]
        if not found:
            near = difflib.get_close_matches(name, [task.name for task in known], n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else "gym, replay, parallel, spec, mt, gsm8k, humaneval or all"
            raise UnknownName(f"no benchmark task is named {name!r}", hint=hint)
        chosen.extend(task for task in found if task not in chosen)
    return chosen

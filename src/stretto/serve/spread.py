"""A batch through Ray Data: an actor per replica, each with an engine of its own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from math import ceil
from typing import Any

from .batch import Batch, Line, answered, written
from .cluster import Replicas
from .service import Service

BLOCK = 4  # times as many lines are handed to an actor at once as it has rows: at the end of a block some stand idle


class Answering:
    """What each actor runs."""

    def __init__(self, make: Callable[[], Service]) -> None:
        self._service = make()

    def __call__(self, block: dict[str, Any]) -> dict[str, list[bytes]]:
        """The answers to the lines of a block, in their order: one that is begun anew elsewhere gives the same."""
        lines = [Line(*each) for each in zip(block["id"], block["place"], block["text"], strict=True)]
        found = asyncio.run(self._answers(lines))
        return {"answer": [found[line.id] for line in lines]}

    async def _answers(self, lines: list[Line]) -> dict[str, bytes]:
        asked = ((line, *line.identify({})) for line in lines)
        return {each["id"]: written(each) async for some in answered(self._service, asked) for each in some}


def run(
    batch: Batch, make: Callable[[], Service], replicas: Replicas, rows: int, told: Callable[[int], object]
) -> None:
    """Answer what has no answer yet, within a `cluster`; `told` hears how many have got one.

    `make` gives each replica its service, of so many `rows`. Answers are appended block by block, as blocks end: what
    a kill takes from a block is answered again, and stands in the output once.
    """
    import ray.data

    left = [line for line, *_ in batch.left()]
    faults = [line.answer() for line in left if line.fault is not None]
    batch.out.append(faults)
    told(len(faults))
    asked = [{"id": each.id, "place": each.place, "text": each.text} for each in left if each.fault is None]
    if not asked:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    answers = ray.data.from_items(asked, override_num_blocks=ceil(len(asked) / (BLOCK * rows))).map_batches(
        Answering,
        fn_constructor_args=[make],
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=replicas.least, max_size=replicas.most),
        num_cpus=replicas.cpus,
        num_gpus=replicas.gpus,
    )
    for block in answers.iter_batches(batch_size=None, prefetch_batches=0):
        batch.out.append([json.loads(each) for each in block["answer"]])
        told(len(block["answer"]))

"""ParallelBench's tasks in the benchmark."""

from __future__ import annotations

import itertools

import pytest

from stretto.bench.tasks import select
from stretto.bench.tasks.parallel import MOST, ParallelTask
from stretto.errors import UnknownName
from stretto.gym.parallel import KINDS


def test_they_are_found_by_name_and_as_a_family() -> None:
    assert [task.name for task in select(["parallel"], None)] == [f"parallel:{kind}" for kind in KINDS]
    (task,) = select(["parallel:shuffle"], None)
    assert task.name == "parallel:shuffle" and not task.absent
    with pytest.raises(UnknownName, match="parallel:shuffel") as caught:
        select(["parallel:shuffel"], None)
    assert "parallel:shuffle" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_exercises_differ_and_come_again(kind: str) -> None:
    task = ParallelTask(kind)
    found = list(task.exercises(3))
    assert len({each.prompt for each in found}) == len(found) == MOST
    for each in found[:8]:
        assert each.answer and each.solved and each.solved(each.answer) and not each.solved("lamp")
    assert [each.prompt for each in itertools.islice(task.exercises(3), 5)] == [each.prompt for each in found[:5]]
    assert next(task.exercises(4)).prompt != found[0].prompt


def test_lists_are_as_long_as_asked_for() -> None:
    for length in (3, 8):
        first = next(ParallelTask("reverse", length).exercises(0))
        assert first.answer and len(first.answer.split(", ")) == length

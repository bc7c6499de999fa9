from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest

from stretto.bench.repetition import LIMIT, repeated_share
from stretto.bench.tasks import select
from stretto.bench.tasks.replay import SOURCES
from stretto.errors import UnknownName
from stretto.gym import tasks


def names(*chosen: str) -> list[str]:
    return [task.name for task in select(chosen, None)]


def test_by_family_by_name_and_all():
    gym = [f"gym:{kind}" for kind in tasks()]
    replay = [f"replay:{source}" for source in SOURCES]
    assert names("gym") == gym
    assert names("replay") == replay
    assert names("all") == gym + replay
    assert names("replay:gsm8k", gym[1], "replay:gsm8k") == ["replay:gsm8k", gym[1]]


def test_unknown_task_names_the_closest():
    with pytest.raises(UnknownName, match="replay:gsm8k"):
        select(["replay:gsm8"], None)


def test_absent_data_is_said(tmp_path: Path):
    for task in select(["replay"], tmp_path):
        assert str(tmp_path) in task.absent
    assert all(task.absent for task in select(["replay"], None))


def test_gym_exercises_check_their_answers():
    for task in select(["gym"], None):
        first = next(iter(task.exercises(0)))
        assert first.prompt and first.reference is None
        assert not first.solved("no answer at all to this")
        assert first.prompt == next(iter(task.exercises(0))).prompt


def test_a_replay_source_from_a_file(tmp_path: Path):
    file = tmp_path / SOURCES["gsm8k"][0]
    file.parent.mkdir(parents=True)
    lines = '{"question": "Two\u2028and two?", "answer": "2 + 2 = <<2+2=4>>4\\n#### 4"}\n' * 2
    file.write_bytes(gzip.compress(lines.encode()))
    (task,) = select(["replay:gsm8k"], tmp_path)
    assert not task.absent
    found = list(task.exercises(0))
    assert [exercise.reference for exercise in found] == ["2 + 2 = 4\n#### 4"] * 2
    assert found[0].prompt == "Two\u2028and two?"


@pytest.mark.parametrize("source", SOURCES)
def test_real_sources(shared_data: Path, source: str):
    (task,) = select([f"replay:{source}"], shared_data)
    assert not task.absent
    found = list(itertools.islice(task.exercises(0), 30))
    assert len(found) == 30
    assert len({exercise.prompt for exercise in found}) >= 29
    assert all(exercise.prompt.strip() and exercise.reference.strip() for exercise in found)
    assert [exercise.prompt for exercise in itertools.islice(task.exercises(0), 5)] == [x.prompt for x in found[:5]]
    looping = [exercise for exercise in found if repeated_share(list(exercise.reference.encode()), 40) > LIMIT]
    assert len(looping) < 10

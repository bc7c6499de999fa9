from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bench.subjects import subject
from stretto.bench.columns import Plan, measured, total
from stretto.bench.contestants import GREEDILY, Answer
from stretto.bench.results import Column
from stretto.bench.rounds import Round
from stretto.bench.tasks import Exercise
from stretto.generation import Counters

PLAN = Plan(batches=(1, 4), temperatures=(0.0, 1.0), count=3, repeats=2, max_new_tokens=12, seed=5)


@dataclass
class Noter:
    """Answers as expected, and notes how it was asked for what."""

    name: str
    asked: list = field(default_factory=list)
    ours = learns = True

    def prepare(self, cases, draw=GREEDILY):
        self.asked.append((draw, [tuple(case.prompt) for case in cases]))

    def bound(self, case, draw):
        return True

    def answer(self, cases):
        size = sum(len(case.expected) for case in cases)
        counters = Counters(new_tokens=size, row_forwards=size)
        rounds = [[Round(1, 0, False, 1, 0.1) for _ in case.expected] for case in cases]
        return Answer([case.expected for case in cases], counters, lambda: rounds)


@dataclass
class Source:
    size: int
    name = "replay:x"
    absent = ""

    def exercises(self, seed: int):
        for at in range(self.size):
            yield Exercise(f"prompt {at}", reference=f"the {at}th text to be written")


@pytest.fixture(scope="module")
def world():
    return subject()


def test_every_column_of_a_task(world):
    """Exercises by column, one stream of memory for each batch size, a warm-up on a text that is never measured."""
    contestants, ticks = [Noter("A"), Noter("B")], []
    found = list(measured(world, contestants, Source(9), PLAN, lambda: ticks.append(1)))
    columns = [Column(1, 0.0), Column(4, 0.0), Column(1, 1.0), Column(4, 1.0)]
    assert [each.result.column for each in found] == columns
    assert [[len(group) for group in each.groups] for each in found] == [[1, 1, 1], [4]] * 2
    assert len(ticks) == total(PLAN, len(contestants)) == 2 * 2 * ((1 + 2 * 3) + (1 + 2 * 1))
    assert [(run.contestant, run.repeat) for run in found[1].runs] == [("A", 0), ("B", 0), ("B", 1), ("A", 1)]
    (spare,) = {prompt for draw, prompts in contestants[0].asked if len(prompts) == 1 for prompt in prompts} - {
        tuple(case.prompt) for each in found for group in each.groups for case in group
    }
    assert spare == tuple(world.encode(Exercise("prompt 4")))
    for contestant in contestants:
        warming = [draw for draw, prompts in contestant.asked if prompts == [spare]]
        assert [(draw.temperature, draw.stream, draw.repeat) for draw in warming] == [
            (column.temperature, ("replay", column.batch), repeat) for column in columns for repeat in range(2)
        ]
        assert {draw.seed for draw, _ in contestant.asked} == {5}


def test_only_the_first_column_keeps_what_fills_a_file(world):
    found = list(measured(world, [Noter("A")], Source(9), PLAN, lambda: None))
    kept = [bool(each.result.contestants[0].profile.pace) for each in found]
    assert kept == [True, False, False, False]
    assert all(each.result.contestants[0].profile.rounds for each in found)


def test_nothing_to_measure_is_a_result_without_contestants(world):
    for each in measured(world, [Noter("A")], Source(0), PLAN, lambda: pytest.fail("nobody is asked")):
        assert (each.groups, each.runs, each.result.contestants) == ([], [], [])

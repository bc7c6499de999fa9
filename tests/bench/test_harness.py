from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.subjects import END, subject
from stretto.bench.harness import Prepared, grouped, measure, prepare
from stretto.bench.lanes import Answer, Case
from stretto.bench.results import BETTER, Report, Spread, means, summarise
from stretto.bench.tasks import Exercise
from stretto.generation import Counters


@dataclass
class Time:
    """A clock that only the contestants move."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Sprinter:
    """Takes fixed seconds for an answer, different ones in each repeat; answers as expected unless told."""

    name: str
    time: Time
    seconds: list[float]  # of the answers in turn; the warm-up takes none
    ours: bool = True
    wrong: frozenset[int] = frozenset()  # prompts that it answers wrongly
    log: list[str] = field(default_factory=list)
    warm: bool = False

    def prepare(self, cases):
        self.time.now += 1000.0  # not timed

    def answer(self, cases):
        self.log.append(self.name)
        if self.warm:
            self.time.now += self.seconds.pop(0)
        self.warm = True
        tokens = [[*case.expected, 1] if case.prompt[0] in self.wrong else case.expected for case in cases]
        size = sum(map(len, tokens))
        return Answer(tokens, Counters(new_tokens=size, row_forwards=size // 2, drafted=size, accepted=size // 4))


def case(prompt: int, length: int) -> Case:
    return Case([prompt], list(range(10, 10 + length)), False)


def test_contestants_take_turns():
    time, log = Time(), []
    runners = [Sprinter(name, time, [1.0] * 6, log=log) for name in "ABC"]
    ticks = []
    runs = measure(runners, [[case(0, 2)], [case(1, 2)]], 3, clock=time, progress=lambda: ticks.append(1))
    assert "".join(log) == "ABC" + "ABC" + "BCA" + "CAB" + "ABC" + "BCA" + "CAB"  # the first three warm up
    assert len(ticks) == len(log)
    assert {(run.lane, run.repeat, run.group) for run in runs} == {
        (name, repeat, group) for name in "ABC" for repeat in range(3) for group in range(2)
    }
    assert all(run.seconds == 1.0 for run in runs)


def test_figures_by_hand():
    time = Time()
    groups = [[case(0, 10)], [case(1, 20)]]
    plain = Sprinter("plain", time, [1, 2, 2, 4, 1, 2])  # 3, 6 and 3 seconds for 30 tokens
    quick = Sprinter("quick", time, [1, 1, 1, 1, 0.5, 0.5])  # 2, 2, 1
    greedy = Sprinter("hf greedy", time, [3, 3, 6, 6, 3, 3], ours=False)  # 6, 12, 6
    lookup = Sprinter("hf lookup", time, [2, 2, 2, 2, 2, 2], ours=False)  # 4, 4, 4
    lanes = [plain, quick, greedy, lookup]
    result = summarise(Prepared("gym:x", unsolved=4, repeated=2), groups, lanes, measure(lanes, groups, 3, clock=time))
    assert (result.cases, result.tokens, result.unsolved, result.repeated, result.differing) == (2, 30, 4, 2, 0)
    found = {lane.name: lane for lane in result.lanes}
    assert found["plain"].speed == Spread(10, 7.5, 10)
    assert found["plain"].seconds == [3, 6, 3]
    assert found["quick"].speed == Spread(15, 15, 22.5)
    assert found["quick"].ratios["plain"] == Spread(3, 2.25, 3)  # 1.5, 3, 3 of the same repeats
    assert found["quick"].ratios["hf greedy"] == Spread(6, 4.5, 6)  # 3, 6, 6
    assert found["quick"].ratios["hf best"] == Spread(2, 2, 3)  # lookup's median is the best: 2, 2, 4
    assert found["hf lookup"].ratios["hf best"] == Spread(1, 1, 1)
    assert found["quick"].tokens_per_forward == 2.0
    assert found["quick"].accepted_share == pytest.approx(7 / 30)
    assert found["quick"].counters.new_tokens == 30  # of one repeat


def test_groups_with_differing_tokens_count_for_nobody():
    time = Time()
    groups = [[case(0, 10)], [case(1, 20)]]
    lanes = [Sprinter("plain", time, [1, 100]), Sprinter("odd", time, [2, 1], wrong=frozenset({1}))]
    result = summarise(Prepared("gym:x"), groups, lanes, measure(lanes, groups, 1, clock=time))
    assert (result.cases, result.tokens, result.differing) == (1, 10, 1)
    assert [lane.speed.median for lane in result.lanes] == [10, 5]
    assert [lane.differing for lane in result.lanes] == [0, 1]


def test_nothing_is_left():
    time = Time()
    lanes = [Sprinter("plain", time, [1], wrong=frozenset({0}))]
    groups = [[case(0, 10)]]
    result = summarise(Prepared("gym:x"), groups, lanes, measure(lanes, groups, 1, clock=time))
    assert (result.cases, result.lanes, result.differing) == (0, [], 1)
    assert means([result]) == []


def tasks() -> list:
    found = []
    for name, quick, other in (("gym:a", 2.0, 4.0), ("gym:b", 8.0, 0.5), ("replay:c", 3.0, 3.0)):
        time, groups = Time(), [[case(0, 12)]]
        lanes = [
            Sprinter("plain", time, [1.0]),
            Sprinter("lookup", time, [1 / quick]),
            Sprinter("draft", time, [1 / other]),
            Sprinter("hf greedy", time, [2.0], ours=False),
        ]
        found.append(summarise(Prepared(name), groups, lanes, measure(lanes, groups, 1, clock=time)))
    return found


def test_geometric_means():
    found = {(mean.family, mean.lane): mean for mean in means(tasks())}
    assert found["gym", "lookup"].ratios["plain"] == pytest.approx(4.0)
    assert found["gym", "lookup"].ratios["hf greedy"] == pytest.approx(8.0)
    assert found["gym", "draft"].ratios["plain"] == pytest.approx(math.sqrt(2.0))
    assert found["gym", BETTER].ratios["plain"] == pytest.approx(math.sqrt(32.0))
    assert (found["gym", "draft"].worst, found["gym", "draft"].worst_task) == (0.5, "gym:b")
    assert found["replay", "draft"].ratios["plain"] == pytest.approx(3.0)


def test_report_round_trip(tmp_path: Path):
    report = Report({"command": "stretto bench", "settings": {"model": "ü"}}, tasks(), means(tasks()), {"gym:z": "no"})
    report.save(tmp_path / "r.json")
    assert Report.load(tmp_path / "r.json") == report


def test_groups():
    cases = [case(at, 1) for at in range(5)]
    assert grouped(cases, 2) == [cases[:2], cases[2:4], cases[4:]]
    assert grouped([], 2) == []


@dataclass
class Source:
    found: list[Exercise]
    name = "replay:x"
    absent = ""

    def exercises(self, seed: int):
        yield from self.found


@pytest.fixture(scope="module")
def world():
    return subject()


def test_replayed_cases(world):
    loop = "abcdefghi" * 4
    source = Source(
        [
            Exercise("a prompt", reference="too far"),  # seven tokens
            Exercise("another", reference=loop),
            Exercise("x" * 3000, reference="longer than all positions"),
            Exercise("short", reference="a text to be written"),
            Exercise("long", reference="a text that goes on for longer than allowed"),
        ]
    )
    prepared = prepare(world, source, 3, 30, 0)
    assert (prepared.repeated, prepared.unsolved) == (1, 0)
    texts = [world.engine.tokenizer.decode(case.expected) for case in prepared.cases]
    assert texts == ["a text to be written<end>", "a text that goes on for longer"]
    assert prepared.cases[0].expected[-1] == END
    assert all(case.forced for case in prepared.cases)


def test_only_solved_questions_count(world):
    answer = world.engine.generate(world.encode(Exercise("hello")), "plain", max_new_tokens=30, end_tokens=())
    end = next(token for token in answer.tokens if token != answer.tokens[0])  # shall end the answer
    world.engine.end_tokens, before = frozenset({end}), world.engine.end_tokens
    try:
        plain = world.engine.generate(world.encode(Exercise("hello")), "plain", max_new_tokens=30)
        right = Exercise("hello", solved=lambda reply: reply == plain.text)
        wrong = Exercise("hello", solved=lambda reply: False)
        prepared = prepare(world, Source([wrong, right, wrong]), 2, 30, 0)
        unfinished = prepare(world, Source([Exercise("hello", solved=lambda reply: True)]), 1, 1, 0)
    finally:
        world.engine.end_tokens = before
    assert [case.expected for case in prepared.cases] == [plain.tokens]
    assert prepared.unsolved == 2
    assert unfinished.unsolved == 1


def test_no_more_cases_than_asked_for(world):
    source = Source([Exercise(f"prompt {at}", reference="a text to be written") for at in range(9)])
    assert len(prepare(world, source, 2, 30, 0).cases) == 2

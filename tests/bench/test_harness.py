from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.subjects import END, subject
from stretto.bench.contestants import GREEDILY, Answer, Case, Draw
from stretto.bench.harness import Prepared, Run, grouped, measure, prepare
from stretto.bench.real.results import Real
from stretto.bench.report import table
from stretto.bench.results import BETTER, Column, Report, Spread, means, summarise
from stretto.bench.rounds import Profile, Round
from stretto.bench.shape import Shape
from stretto.bench.tasks import Exercise
from stretto.errors import InvalidRequest
from stretto.generation import Counters, Generation


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
    wrong: frozenset[int] = frozenset()  # prompts that it answers with one token more
    loops: frozenset[int] = frozenset()  # prompts that it answers with a loop
    log: list[str] = field(default_factory=list)
    warm: bool = False
    exact: bool = True
    draws: list = field(default_factory=list)
    learns: bool = False

    def prepare(self, cases, draw=GREEDILY):
        self.time.now += 1000.0  # not timed
        self.draws.append(draw)

    def bound(self, case, draw):
        return self.exact

    def answer(self, cases):
        self.log.append(self.name)
        if self.warm:
            self.time.now += self.seconds.pop(0)
        self.warm = True
        tokens = [[*case.expected, 1] if case.prompt[0] in self.wrong else case.expected for case in cases]
        tokens = [[7] * 20 if case.prompt[0] in self.loops else t for case, t in zip(cases, tokens, strict=True)]
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
    assert {(run.contestant, run.repeat, run.group) for run in runs} == {
        (name, repeat, group) for name in "ABC" for repeat in range(3) for group in range(2)
    }
    assert all(run.seconds == 1.0 for run in runs)


def test_each_repeat_is_another_draw_of_the_same_seed():
    runner = Sprinter("A", time := Time(), [1.0] * 4)
    measure([runner], [[case(0, 2)], [case(1, 2)]], 2, Draw(0.7, 5), clock=time)
    assert [(draw.temperature, draw.seed, draw.repeat) for draw in runner.draws[1:]] == [
        (0.7, 5, repeat) for repeat in (0, 0, 1, 1)
    ]


def test_who_learns_warms_up_in_every_repeat_on_a_text_that_is_not_measured():
    log = []
    groups, spare = [[case(0, 2)], [case(1, 2)]], [case(7, 2)]

    class Logged(Sprinter):
        def answer(self, cases):
            log.append((self.draws[-1].repeat, cases[0].prompt[0]))
            return Answer([each.expected for each in cases], Counters())

    measure([Logged("A", Time(), [], learns=True)], groups, 2, spare=spare, clock=Time())
    assert log == [(0, 7), (1, 7), (0, 0), (0, 1), (1, 0), (1, 1)]
    log.clear()
    measure([Logged("A", Time(), [], learns=True)], groups, 2, clock=Time())
    assert log == [(-1, 0), (0, 0), (0, 1), (1, 0), (1, 1)]
    log.clear()
    measure([Logged("A", Time(), [])], groups, 2, spare=spare, clock=Time())
    assert log == [(-1, 7), (0, 0), (0, 1), (1, 0), (1, 1)]


def test_figures_by_hand():
    time = Time()
    groups = [[case(0, 10)], [case(1, 20)]]
    plain = Sprinter("plain", time, [1, 2, 2, 4, 1, 2])  # 3, 6 and 3 seconds for 30 tokens
    quick = Sprinter("quick", time, [1, 1, 1, 1, 0.5, 0.5])  # 2, 2, 1
    greedy = Sprinter("hf greedy", time, [3, 3, 6, 6, 3, 3], ours=False)  # 6, 12, 6
    lookup = Sprinter("hf lookup", time, [2, 2, 2, 2, 2, 2], ours=False)  # 4, 4, 4
    contestants = [plain, quick, greedy, lookup]
    result = summarise(
        Prepared("gym:x", unsolved=4, repeated=2), groups, contestants, measure(contestants, groups, 3, clock=time)
    )
    assert (result.cases, result.tokens, result.unsolved, result.repeated, result.differing) == (2, 30, 4, 2, 0)
    found = {contestant.name: contestant for contestant in result.contestants}
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
    contestants = [Sprinter("plain", time, [1, 100]), Sprinter("odd", time, [2, 1], wrong=frozenset({1}))]
    result = summarise(Prepared("gym:x"), groups, contestants, measure(contestants, groups, 1, clock=time))
    assert (result.cases, result.tokens, result.differing) == (1, 10, 1)
    assert [contestant.speed.median for contestant in result.contestants] == [10, 5]
    assert [contestant.differing for contestant in result.contestants] == [0, 1]


def test_who_draws_a_text_of_its_own_is_timed_by_its_own_tokens():
    time = Time()
    groups = [[case(0, 10)], [case(1, 20)]]
    contestants = [
        Sprinter("plain", time, [1, 1]),
        Sprinter("hf greedy", time, [1, 1], ours=False, wrong=frozenset({1}), exact=False),
    ]
    runs = measure(contestants, groups, 1, Draw(1.0), clock=time)
    result = summarise(Prepared("gym:x"), groups, contestants, runs, column=Column(1, 1.0), draw=Draw(1.0))
    assert (result.cases, result.tokens, result.differing, result.looped) == (2, 30, 0, 0)
    assert [contestant.speed.median for contestant in result.contestants] == [15, 15.5]
    assert [contestant.differing for contestant in result.contestants] == [0, 1]
    assert result.column == Column(1, 1.0)


def test_a_loop_drawn_by_anyone_counts_for_nobody():
    time = Time()
    groups = [[case(0, 10)], [case(1, 20)]]
    contestants = [
        Sprinter("plain", time, [1, 100]),
        Sprinter("hf greedy", time, [2, 1], ours=False, loops=frozenset({1}), exact=False),
    ]
    result = summarise(Prepared("gym:x"), groups, contestants, measure(contestants, groups, 1, clock=time))
    assert (result.cases, result.differing, result.looped) == (1, 0, 1)
    assert [contestant.speed.median for contestant in result.contestants] == [10, 5]


def test_rounds_are_summed_up_and_the_longest_answer_paced():
    def answer(size):
        return Answer([list(range(10, 10 + size))], Counters(), lambda: [[Round(1, 0, False, 1, 0.5)] * size])

    groups = [[case(0, 10)], [case(1, 12)]]
    runs = [Run("plain", repeat, group, 1.0, answer((10, 12)[group])) for repeat in (0, 1) for group in (0, 1)]
    (contestant,) = summarise(Prepared("gym:x"), groups, [Sprinter("plain", Time(), [])], runs).contestants
    assert contestant.profile.rounds == 44
    assert contestant.profile.windows == [[1, 44, 0.5]]
    assert contestant.profile.pace[-1] == [12, 6.0]


def test_nothing_is_left():
    time = Time()
    contestants = [Sprinter("plain", time, [1], wrong=frozenset({0}))]
    groups = [[case(0, 10)]]
    result = summarise(Prepared("gym:x"), groups, contestants, measure(contestants, groups, 1, clock=time))
    assert (result.cases, result.contestants, result.differing) == (0, [], 1)
    assert means([result]) == []


def tasks() -> list:
    found = []
    for name, quick, other in (("gym:a", 2.0, 4.0), ("gym:b", 8.0, 0.5), ("replay:c", 3.0, 3.0)):
        time, groups = Time(), [[case(0, 12)]]
        contestants = [
            Sprinter("plain", time, [1.0]),
            Sprinter("lookup", time, [1 / quick]),
            Sprinter("draft", time, [1 / other]),
            Sprinter("hf greedy", time, [2.0], ours=False),
        ]
        found.append(summarise(Prepared(name), groups, contestants, measure(contestants, groups, 1, clock=time)))
    return found


def test_geometric_means():
    found = {(mean.family, mean.contestant): mean for mean in means(tasks())}
    assert found["gym", "lookup"].ratios["plain"] == pytest.approx(4.0)
    assert found["gym", "lookup"].ratios["hf greedy"] == pytest.approx(8.0)
    assert found["gym", "draft"].ratios["plain"] == pytest.approx(math.sqrt(2.0))
    assert found["gym", BETTER].ratios["plain"] == pytest.approx(math.sqrt(32.0))
    assert (found["gym", "draft"].worst, found["gym", "draft"].worst_task) == (0.5, "gym:b")
    assert found["replay", "draft"].ratios["plain"] == pytest.approx(3.0)


def test_columns_have_means_of_their_own():
    found = tasks()
    for task in (again := tasks()):
        task.column = Column(4, 1.0)
    of = {(mean.column, mean.family, mean.contestant): mean.ratios["plain"] for mean in means([*found, again[0]])}
    assert of[Column(), "gym", "lookup"] == pytest.approx(4.0)
    assert of[Column(4, 1.0), "gym", "lookup"] == pytest.approx(2.0)
    assert (Column(4, 1.0), "replay", "lookup") not in of


def test_report_round_trip(tmp_path: Path):
    settings = {"command": "stretto bench [\n 1\n]  ]", "settings": {"model": "ü", "batch": [1, 4]}}
    report = Report(settings, tasks(), means(tasks()), {"gym:z": "no"}, [[1, 0.5], [2, 0.75]])
    report.tasks[0].column = Column(4, 1.0)
    report.tasks[0].contestants[0].profile = Profile(
        3, [[2, 1]], [1], {"a": [2, 1]}, [[1, 2, 0.1]], [[0, 0.0], [4, 0.5]]
    )
    report.save(tmp_path / "r.json")
    assert Report.load(tmp_path / "r.json") == report
    assert "[4, 0.5]" in (tmp_path / "r.json").read_text()  # numbers stand in a line


def test_results_written_before_there_were_columns():
    for file in (Path(__file__).parents[2] / "docs" / "results").glob("*-*.json"):
        if Shape.is_in(file):
            assert Shape.load(file).windows
        elif not Real.is_in(file):  # written since
            report = Report.load(file)
            assert report.columns == [Column(report.provenance["settings"]["batch"])]
            assert "geometric means" in table(report)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}, "tasks": []}', '{"windows": []}'])
def test_no_result_is_one_typed_error(tmp_path: Path, content: str):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InvalidRequest, match="holds no"):
        Report.load(tmp_path / "x.json")
    with pytest.raises(InvalidRequest, match="holds no"):
        Shape.load(tmp_path / "x.json")


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


def test_a_drawn_answer_is_the_seeds(world):
    exercise = Exercise("hello", solved=None)
    texts = []
    for seed in (1, 1, 2):
        (found,) = prepare(world, Source([exercise]), 1, 20, seed, temperature=1.0).cases
        texts.append(found.expected)
    assert texts[0] == texts[1] != texts[2]
    alone = world.engine.generate(world.encode(exercise), "plain", max_new_tokens=20, temperature=1.0, seed=1)
    assert texts[0] == alone.tokens


def test_turns_are_cases_and_stay_together(world):
    questions = [Exercise(f"hello {at}", later=("and then",), question=80 + at, category="writing") for at in range(3)]
    found = prepare(world, Source(questions), 2, 12, 5, temperature=1.0)
    assert [(c.question, c.turn, c.forced) for c in found.cases] == [
        (80, 0, False),
        (80, 1, False),
        (81, 0, False),
        (81, 1, False),
    ]
    answered = world.engine.decode(found.cases[0].expected)
    assert found.cases[1].prompt == world.engine.encode(f"hello 0\n{answered}\nand then")
    assert [c.question for c in found.first(1).cases] == [80, 80]
    assert found.first(5) == found and found.first(1).repeated == found.repeated
    assert found.spare(1) == found.cases[2:3] and found.spare(2) == []


def test_saying_the_same_again_is_repetition(world):
    world.replayed.follow(None)
    again = [Exercise("hello", later=("hello",), question=1)]
    before, world.engine.generate = world.engine.generate, lambda *a, **k: Generation("same", [5, 6, 7], "length", [])
    try:
        prepared = prepare(world, Source(again), 1, 12, 0)
    finally:
        del world.engine.generate
    assert world.engine.generate == before
    assert (prepared.cases, prepared.repeated) == ([], 1)


def test_prompts_beyond_the_positions_are_counted(world):
    source = Source([Exercise("x" * 3000), Exercise("x" * 2040), Exercise("fits")])
    prepared = prepare(world, source, 3, 12, 5, temperature=1.0)
    assert prepared.long == 2 and len(prepared.cases) == 1


def test_no_more_cases_than_asked_for(world):
    source = Source([Exercise(f"prompt {at}", reference="a text to be written") for at in range(9)])
    assert len(prepare(world, source, 2, 30, 0).cases) == 2

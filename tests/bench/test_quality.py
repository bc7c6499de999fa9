from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
import torch

pytest.importorskip("matplotlib")

from bench.subjects import END, subject, tokenizer
from bench.test_contestants import Parrot
from bench.test_page import Reader
from stretto import catalogue
from stretto import method as methods
from stretto.bench.command import add_arguments, run
from stretto.bench.contestants import Answer, Draw
from stretto.bench.harness import Run
from stretto.bench.provenance import provenance
from stretto.bench.quality.contenders import FILLERS, fitting, named, over, usual
from stretto.bench.quality.contest import Plan, Solver, asked, contest, unchecked
from stretto.bench.quality.figures import PANELS, Mark, front
from stretto.bench.quality.judging import judged, means, wilson
from stretto.bench.quality.page import quality_parts
from stretto.bench.quality.results import RATIOS, Quality, TaskQuality
from stretto.bench.quality.small import sign, small
from stretto.bench.quality.table import amount, difference, table
from stretto.bench.subject import load_subject
from stretto.bench.tasks import Exercise, select
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.generation import Counters
from stretto.models.contract import masking_of
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.train.measure import BASELINES, CANVAS, canvas
from test_infill import save

PLAIN = methods.parse("plain")


@pytest.fixture(scope="module", params=[None, 8], ids=["whole", "blocks"])
def checkpoint(request, tmp_path_factory):
    return save(tmp_path_factory.mktemp("masked"), request.param)


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine.load(checkpoint)


def no_models(name):
    raise AssertionError(f"nothing asks for {name}")


# -- figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "asked_", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 0.2065, 1.0),
        (90, 100, 0.8256, 0.9448),
    ],
)
def test_intervals_are_wilsons(right, asked_, low, high):
    assert wilson(right, asked_) == pytest.approx((low, high), abs=1e-4)


def runs(contestant, answers, seconds, rounds):
    """One group in each repeat: its answers as texts, whose letters are the tokens."""
    return [
        Run(
            contestant,
            at,
            0,
            taken,
            Answer([list(map(ord, text)) for text in texts], Counters(rounds=rounds), texts=texts),
        )
        for at, (texts, taken) in enumerate(zip(answers, seconds, strict=True))
    ]


SOLVED = [lambda text: text == "yes"] * 4
BASE = runs("base", [["yes", "no", "yes", "no"]] * 3, [2.0, 4.0, 8.0], 40)
OTHER = runs("other", [["yes", "yes", "yes", "na"], ["no"] * 4, ["yes", "yes", "yes", "na"]], [1.0, 9.0, 2.0], 10)


def test_judged_beside_the_baseline():
    baseline = judged("base", PLAIN, BASE, SOLVED, None)
    assert (baseline.right, baseline.gain, baseline.same) == ([1, 0, 1, 0], 0.0, 4)
    assert baseline.seconds == [2.0, 4.0, 8.0] and all(ratio.median == 1 for ratio in baseline.ratios.values())
    other = judged("other", PLAIN, OTHER, SOLVED, (BASE, baseline))
    assert (other.right, other.accuracy, other.tokens) == ([1, 1, 1, 0], 0.75, 11)
    assert other.same == 2
    assert other.gain == 0.25 and other.gain_error == pytest.approx(0.25)  # of 0, 1, 0, 0
    assert other.seconds == [1.0, 2.0]  # the second repeat wrote something else
    assert other.ratios["rounds"].median == 0.25
    assert other.ratios["seconds"].median == pytest.approx((1 / 2 + 2 / 8) / 2)
    assert other.ratios["speed"].high > other.ratios["speed"].low == pytest.approx(11 / 10 * 2, rel=0.3)
    assert "token_forwards" not in other.ratios  # nothing was counted
    assert other.cost("rounds") == 2.5 and other.cost("seconds") == pytest.approx(1.5 / 4)


def contestants(rounds, right):
    """A baseline of 40 rounds and a method of so many, on two questions."""
    base = runs("base", [["yes", "no"]], [1.0], 40)
    mine = runs("mine", [["yes" if each else "no" for each in right]], [1.0], rounds)
    baseline = judged("base", PLAIN, base, SOLVED, None)
    return [baseline, judged("mine", PLAIN, mine, SOLVED, (base, baseline))]


def test_means_are_geometric_for_costs_and_arithmetic_for_accuracy():
    tasks = [
        TaskQuality("gym:a", 2, 0, contestants(10, (1, 1))),
        TaskQuality("gym:b", 2, 0, contestants(40, (0, 0))),
        TaskQuality("gym:c", 0, 3),
        TaskQuality("parallel:d", 2, 0, contestants(20, (1, 0))),
    ]
    found = {(mean.family, mean.name): mean for mean in means(tasks)}
    assert set(found) == {(family, name) for family in ("gym", "parallel", "all") for name in ("base", "mine")}
    mine = found["gym", "mine"]
    assert (mine.tasks, mine.accuracy, mine.gain, mine.worst, mine.worst_task) == (2, 0.5, 0.0, -0.5, "gym:b")
    assert mine.ratios["rounds"] == pytest.approx(0.5) and mine.costs["rounds"] == pytest.approx(10)
    assert mine.gain_error == pytest.approx(0.5 * 2**0.5 / 2)
    assert found["all", "mine"].tasks == 3
    alone = found["parallel", "mine"]
    assert (alone.low, alone.high) == pytest.approx(wilson(1, 2))
    assert not any(mean.family == "all" for mean in means(tasks[:2]))


def test_the_front_is_what_nothing_dominates():
    spots = [(3.0, 0.9), (1.0, 0.2), (2.0, 0.2), (2.0, 0.5), (4.0, 0.9), (1.0, 0.1)]
    assert front(spots) == [1, 3, 0]
    rng = random.Random(0)
    spots = [(rng.random(), rng.random()) for _ in range(40)]
    kept = front(spots)
    for at, (cost, right) in enumerate(spots):
        beaten = any(a <= cost and b >= right and (a, b) != (cost, right) for a, b in spots)
        assert (at in kept) != beaten


def test_what_all_tasks_say_stands_first_and_differences_have_intervals():
    tasks = [
        TaskQuality("gym:a", 2, 0, contestants(10, (1, 1))),
        TaskQuality("parallel:d", 2, 0, contestants(20, (0, 0))),
    ]
    quality = Quality(provenance(model="m", dtype="float32", batch=1, temperature=0.0), tasks, means(tasks))
    mine = next(mean for mean in quality.means if (mean.family, mean.name) == ("all", "mine"))
    low, high = mine.difference
    assert (low + high) / 2 == mine.gain == 0.0
    assert high == pytest.approx(1.96 * 0.5 / 2**0.5)  # two tasks, each with a standard error of 0.5 (of 0 and 1)
    assert difference(mine) == "+0.0 (-69.3 to +69.3)"
    printed = table(quality)
    order = ["all, 2 tasks", "gym, 1 task", "parallel, 1 task", "gym:a, 2 questions", "parallel:d, 2 questions"]
    places = [printed.index(f"\n{line}\n") for line in order]
    assert places == sorted(places) and difference(mine) in printed
    page = "".join(quality_parts(quality, "q.json", "q"))
    heads = [page.index(f"<h2>{family}: mean") for family in ("all", "gym", "parallel")]
    assert heads == sorted(heads) and difference(mine) in page


def test_a_small_picture_holds_every_method():
    costs = dict.fromkeys(PANELS, 10.0)
    marks = [
        Mark("base", 0.5, 0.4, 0.6, costs),
        Mark("a<b", 1.0, 0.9, 1.0, dict.fromkeys(PANELS, 5.0)),
        Mark("uncounted", 0.2, 0.1, 0.3, costs | {"rounds": 0.0}),
    ]
    drawn = ElementTree.fromstring(small(marks, "gym:a"))
    space = "{http://www.w3.org/2000/svg}"
    spots = [group for group in drawn.iter(f"{space}g") if group.find(f"{space}title") is not None]
    assert [spot.find(f"{space}title").text for spot in spots[:2]] == ["base: 50.0 %", "a<b: 100.0 %"]
    assert len(spots) == 3 * len(PANELS) - 1
    assert [spot.get("fill") for spot in spots[:2]] == ["#fff", sign(1)[1]]  # the first is dominated
    at = [tuple(map(float, spot.findall(f"{space}path")[1].get("d")[1:].split("m")[0].split())) for spot in spots[:2]]
    assert at[1][0] < at[0][0] and at[1][1] < at[0][1]  # cheaper is further left, better higher
    assert {small([mark], "x").count("<title>") for mark in marks[:2]} == {len(PANELS)}  # a single method
    assert len({sign(at) for at in range(31)}) == 31


def test_a_page_of_many_tasks_is_small():
    """Ten methods on 37 tasks: a page of outlines, a figure each, would be four megabytes."""
    rng = random.Random(1)
    tasks = []
    for number in range(37):
        found = TaskQuality(
            f"gym:kind{number}", 2, 0, contestants(10, (1, 1)) + [contestants(10, (1, 0))[1] for _ in range(8)]
        )
        for at, contestant in enumerate(found.contestants):
            contestant.name, contestant.counters.rounds = f"a-method+number({at})", rng.randint(1, 99)
            contestant.counters.token_forwards, contestant.seconds = rng.randint(100, 9999), [rng.uniform(0.01, 1)]
        tasks.append(found)
    quality = Quality(provenance(model="m", dtype="float32", batch=1, temperature=0.0), tasks, means(tasks))
    parts = quality_parts(quality, "q.json", "q")
    page = "".join(parts)
    assert len(page) < 450_000
    assert page.count("<svg") == 38 and page.count("<title>") == 37 * 10 * len(PANELS)
    assert all(page.count(f"a-method+number({at})") > 37 for at in range(10))
    assert "<text" in page[: page.index("</svg>")]  # letters, no outlines


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.1234, "0.123"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (999.0, "999"),
        (999.9, "1.00k"),
        (12345, "12.3k"),
        (2e6, "2.00M"),
    ],
)
def test_three_digits(value, said):
    assert amount(value) == said


# -- methods ------------------------------------------------------------------------------------------


def test_the_usual_ones_stand_on_the_baseline(engine):
    causal = masking_of(engine.model).block is not None
    found, refused = usual(engine, 0.0, no_models)
    assert not refused and list(found) == list(FILLERS[causal])
    known = {**catalogue.entries(), **catalogue.parts()}
    assert {piece for name in found for piece in name.split("+")} <= known.keys()
    baseline = next(iter(found.values()))
    assert baseline == methods.parse(BASELINES[causal])
    assert len({methods.describe(method) for method in found.values()}) == len(found)
    for name, method in found.items():
        assert method.stop.name in ("end-of-text", "prophet"), name
        if causal:
            assert (method.blocks, method.refresh) == (baseline.blocks, baseline.refresh)


def test_what_a_method_names_itself_stays():
    baseline = methods.parse(BASELINES[False])
    found = over(baseline, methods.parse("klass"))
    assert methods.describe(found) == "stable+blocks(size=32)+end-of-text"
    own = methods.parse("threshold(0.7)+blocks(8)+dual-cache+prophet")
    assert over(baseline, own) == own
    assert over(baseline, own, kept=("blocks", "refresh")).blocks == baseline.blocks


def test_what_does_not_fit_is_refused(engine):
    with pytest.raises(Unsupported, match="fills masks"):
        fitting(methods.parse("plain"), engine, 0.0)
    found, _ = usual(Engine(subject().engine.model), 0.0, no_models)
    assert next(iter(found)) == "plain"


# -- contests -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copies:
    """Exercises with a right answer of so many letters each."""

    lengths: tuple[int, ...]
    name: str = "copies:letters"
    absent: str = ""
    known: bool = True

    def exercises(self, seed):
        for length in self.lengths:
            text = "a" * length
            yield Exercise(text, chat=False, solved=text.__eq__, answer=text if self.known else None)


def plan(**settings):
    return Plan(**({"count": 2, "batch": 2, "repeats": 1, "limit": None, "temperature": 0.0, "seed": 0} | settings))


def test_the_canvas_has_room_for_the_longest_right_answer_of_a_group(engine):
    assert [canvas(length) for length in (0, CANVAS - 1, CANVAS)] == [CANVAS, CANVAS, 2 * CANVAS]
    block = masking_of(engine.model).block
    contestant = Solver("all", engine, methods.parse("low-confidence" + "+block-cache" * bool(block)), None)
    for lengths, room in (((3, 31), 32), ((3, 32), 64)):
        cases = asked(engine, Copies(lengths), plan(), 2).cases
        contestant.prepare(cases)
        assert contestant.answer(cases).counters.rounds >= 2 * room  # a token a step, to the canvas's end
        assert contestant.answer(cases).counters.rounds < 2 * (room + 32)
    contestant = Solver("all", engine, contestant.method, 16)
    contestant.prepare(cases)
    assert max(map(len, contestant.answer(cases).tokens)) <= 16


def test_questions_that_do_not_fit_are_counted(engine):
    found = asked(engine, Copies((10, 190, 20, 300)), plan(), 4)
    assert [len(case.expected) for case in found.cases] == [10, 20] and found.long == 2
    with pytest.raises(InvalidRequest, match="room"):
        asked(engine, Copies((3,), known=False), plan(), 1)
    assert asked(engine, Copies((3,), known=False), plan(limit=8), 1).cases


LETTERS = tokenizer()
MASK = len(LETTERS)


def copying(position, seen):
    """A model that copies what stands before a "Z": surely where the letter before it is known, else it guesses "x"."""
    sure, unsure = torch.full((2, MASK + 1), -9.0)
    split = next(at for at, token in seen.items() if token == LETTERS.convert_tokens_to_ids("Z"))
    place = position - split - 1
    token = END if place >= split else seen.get(max(place, 0), END)
    sure[token] = 0.0
    unsure[LETTERS.convert_tokens_to_ids("x")] = -7.0
    known = place >= split or place <= 0 or seen[position - 1] != MASK
    return (sure if known else unsure).tolist()


def test_guessing_at_once_costs_accuracy_where_letters_depend_on_each_other():
    """Half of the questions have a single letter, which anyone gets right."""
    engine = Engine(MaskedTable(MASK + 1, copying, Masking(MASK)), LETTERS)
    engine.end_tokens = frozenset({END})
    words = ("a", "bcd", "e", "fghi", "spare")

    @dataclass(frozen=True)
    class Words(Copies):
        def exercises(self, seed):
            for word in words:
                yield Exercise(f"{word}Z", chat=False, solved=word.__eq__, answer=word)

    chosen = named(["low-confidence", "threshold(0.001)", "low-confidence+freedave"], engine, no_models)
    contenders = [Solver(name, engine, method, 8) for name, method in chosen.items()]
    answered = []
    result = contest(engine, contenders, Words(()), plan(count=4, limit=8, repeats=2), lambda: answered.append(1))
    assert len(answered) == 3 * plan(count=4, repeats=2).answers == 3 * (1 + 2 * 2)
    stepwise, at_once, ahead = result.contestants
    assert (result.asked, stepwise.right, at_once.right) == (4, [1, 1, 1, 1], [1, 0, 1, 0])
    assert (at_once.gain, at_once.same, len(at_once.seconds)) == (-0.5, 2, 2)
    assert stepwise.tokens == sum(len(word) + 1 for word in words[:4]) == at_once.tokens
    assert (stepwise.counters.rounds, at_once.counters.rounds) == (4 * 8, 4)
    assert {at_once.ratios[name].median for name in ("rounds", "row_forwards", "layer_token_forwards")} == {1 / 8}
    assert (ahead.right, ahead.same) == (stepwise.right, 4) and ahead.counters.rounds < stepwise.counters.rounds


def test_a_model_that_continues_text():
    world = subject()
    engine = world.engine
    engine.model = world.engine.model.model  # nothing is forced
    methods_ = named(["plain", "lookup", "draft"], engine, lambda name: world.draft)
    contenders = [Solver(name, engine, method, None) for name, method in methods_.items()]
    result = contest(engine, contenders, Copies((3, 5, 7)), plan(), lambda: None)
    assert [contestant.name for contestant in result.contestants] == ["plain", "lookup", "draft"]
    assert all(contestant.same == 2 and contestant.gain == 0 for contestant in result.contestants)


def test_a_text_is_never_met_again():
    """A method that remembers texts knows nothing of a question in the next repeat."""
    engine = subject().engine
    contestant = Solver("parrot", engine, Speculate(Parrot(), Exact(), Fixed(4)), 12)
    cases = asked(engine, Copies((3,)), plan(), 1).cases
    for repeat in range(2):
        contestant.prepare(cases, Draw(repeat=repeat))
        assert contestant.answer(cases).counters.drafted == 0
    assert contestant.answer(cases).counters.accepted > 0  # it would have


# -- the command --------------------------------------------------------------------------------------


def call(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(map(str, words))))


def test_table_file_and_page(checkpoint, tmp_path, capsys):
    out = tmp_path / "results" / "quality"
    words = ["quality", "--model", checkpoint, "--tasks", "gym:arithmetic", "gym:passage_qa", "replay:qa"]
    words += ["--count", 2, "--batch", 2, "--max-new-tokens", 16]
    chosen = ["threshold(0.9)+end-of-text", "low-confidence+end-of-text"]
    shown = (*words, "--methods", *chosen, "--out", out)
    assert call(*shown) == 0
    printed = capsys.readouterr().out
    assert "answers none of 2 rightly" in printed and "skipped replay:qa" in printed
    assert "left out, gym:passage_qa" in printed  # its questions are longer than 200 letters
    found = Quality.load(out.with_suffix(".json"))
    assert Quality.is_in(out.with_suffix(".json")) and table(found) in printed
    task, empty = found.tasks
    assert [contestant.name for contestant in task.contestants] == chosen and not empty.contestants and empty.long
    assert set(task.contestants[1].ratios) == set(RATIOS)
    assert found.provenance["settings"]["max_new_tokens"] == 16
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert call("report", out.with_suffix(".json")) == 0
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids)) and {link[1:] for link in read.links} <= set(read.ids)
    text = " ".join(read.text)
    assert all(name in text for name in (*chosen, "Where this comes from", "right answers and their cost"))


def test_what_is_refused(checkpoint, tmp_path, capsys):
    for words, said in (
        (["--batch", 1, 2], "--batch names 2"),
        (["--temperature", 0, 1], "--temperature names 2"),
        (["--methods", "lookup"], "fills masks"),
    ):
        with pytest.raises((InvalidRequest, Unsupported), match=said):
            call("quality", "--model", checkpoint, "--tasks", "gym:arithmetic", *words)
    with pytest.raises(Unsupported, match="cannot be forced"):
        load_subject(checkpoint, "", 0)
    assert call("quality", "--model", checkpoint, "--tasks", "replay:qa", "--max-new-tokens", "auto") == 1
    assert "no references" in capsys.readouterr().out
    other = tmp_path / "other.json"
    other.write_text('{"quality": true}')
    with pytest.raises(InvalidRequest, match="holds no result"):
        Quality.load(other)


def test_tasks_without_a_check_are_skipped(shared_data):
    for name in ("replay:gsm8k", "spec:qa"):
        assert "nobody can tell" in unchecked(select([name], shared_data)[0], 0)
    assert not unchecked(select(["gym:sudoku"], None)[0], 0)
    assert not unchecked(select(["gsm8k"], shared_data)[0], 0)

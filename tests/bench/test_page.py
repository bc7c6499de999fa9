from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from stretto.bench import figures
from stretto.bench.page import page
from stretto.bench.plot import marks_of
from stretto.bench.results import Column, ContestantResult, Report, Spread, TaskResult, means
from stretto.bench.rounds import Profile
from stretto.bench.shape import WINDOWS, Shape, WindowCost
from stretto.generation import Counters

RECORD = {
    "command": "stretto bench --model 'a<b>'",
    "date": "2026-01-02",
    "commit": "",
    "versions": {"torch": "1", "transformers": "2"},
    "machine": {"cpu": "abacus", "threads": 1, "cores": 2, "load": 0.0},
    "settings": {"model": "tiny & small", "batch": [1, 4]},
}


def contestant(name: str, speed: float, against: dict[str, float], drafting: bool = True) -> ContestantResult:
    profile = Profile(
        rounds=40,
        depths=[[30, 20], [20, 12], [12, 2]] if drafting else [],
        ranks=[34],
        sources={"lookup": [60, 34]} if drafting else {},
        windows=[[1, 10, 0.002], [4, 30, 0.003]],
        pace=[[0, 0.0], [10, 0.1], [20, 0.3]],
    )
    ratios = {to: Spread(speed / other, speed / other, speed / other) for to, other in against.items()}
    counters = Counters(new_tokens=80, seconds=1.0, draft_seconds=0.1)
    return ContestantResult(
        name, name[:2] != "hf", Spread(speed, speed, speed), ratios, 2.0, 0.5, 0, [1.0], counters, profile
    )


def task(name: str, column: Column, speeds: dict[str, float]) -> TaskResult:
    against = {"plain": speeds["plain"]}
    if theirs := [speed for contestant, speed in speeds.items() if contestant[:2] == "hf"]:
        against |= {"hf greedy": speeds["hf greedy"], "hf best": max(theirs)}
    contestants = [
        contestant(each, speed, against, each not in ("plain", "hf greedy")) for each, speed in speeds.items()
    ]
    return TaskResult(name, 2, 40, 0.0, 1, 0, 0, contestants, column=column)


SPEEDS = {"plain": 20.0, "fuse(a<b,draft)": 50.0, "hf greedy": 10.0, "hf lookup 3": 15.0, "hf lookup 10": 25.0}


TASKS = ("gym:sorting", "gym:copy_edit", "replay:sql")


def result(columns=(Column(), Column(4, 1.0)), speeds=SPEEDS) -> Report:
    tasks = [
        task(name, column, speeds) for column in columns for name in ("gym:sorting", "gym:copy_edit", "replay:sql")
    ]
    clock = [[1, 0.002], [2, 0.0021], [4, 0.003]]
    return Report(copy.deepcopy(RECORD), tasks, means(tasks), {"replay:qa": "no <references>"}, clock)


class Reader(HTMLParser):
    """Checks that elements are closed in turn, and collects text, ids and whatever is fetched from elsewhere."""

    EMPTY = frozenset({"meta", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href", "data")]
        assert tag not in ("script", "link", "img", "iframe")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def shown() -> str:
    cost = [WindowCost("lean", n, Spread(n, n, n)) for n in WINDOWS]
    cost += [WindowCost("transformers", n, Spread(2 * n, n, 3 * n)) for n in WINDOWS]
    return page([("r.json", result()), ("s.json", Shape(copy.deepcopy(RECORD), cost))])


def test_it_needs_nothing_else_and_is_well_formed(shown):
    read = Reader(shown)
    assert read.links and all(link.startswith("#") for link in read.links)
    assert "@import" not in shown and "url(http" not in shown
    assert len(read.ids) == len(set(read.ids))
    assert {link[1:] for link in read.links} <= set(read.ids)
    for drawn in re.findall(r"<svg.*?</svg>", shown, re.DOTALL):
        ElementTree.fromstring(drawn)


def test_everything_stands_in_it(shown):
    read = Reader(shown)
    text = " ".join(read.text)
    for what in ("Speed by task", "Batches and temp", "Acceptance by", "What a window", "Time per token", "Where this"):
        assert any(heading.startswith(what) for heading in read.headings)
    assert {"Figures", "Left out", "Single forwards"} <= set(read.headings)
    for said in ("tiny & small", "abacus", "no <references>", "--model 'a<b>'", "r.json", "batch 4, T=1", "s.json"):
        assert said in text
    assert "hf sampling" in text  # transformers' plain way where tokens are drawn
    assert "2.00 × transformers' best" in re.sub(r"\s+", " ", text)  # the card: 50 over 25
    assert "lookup 42%" in text  # 34 of 80 tokens


def test_no_method_can_write_markup(shown):
    assert "a<b" not in shown and "a&lt;b" in shown


def test_one_column_without_baselines():
    report = result((Column(),), {"plain": 20.0, "lookup": 50.0})
    text = " ".join(Reader(page([("r.json", report)])).text)
    assert "Batches and temperatures" not in text and "T above 0" not in text
    assert "2.50 ×" in re.sub(r"\s+", " ", text) and "our plain" in text


def test_results_without_rounds_or_clock_or_anything():
    report = result((Column(),))
    report.clock = []
    for each in report.tasks:
        for one in each.contestants:
            one.profile = None
    headings = Reader(page([("r.json", report)])).headings
    assert not {"Acceptance by depth", "What a window costs", "Time per token over a run"} & set(headings)
    assert "Nothing was measured" in page([("r.json", Report(RECORD))])


def test_a_busy_machine_is_said():
    report = Report(copy.deepcopy(RECORD))
    assert "was busy" not in page([("r.json", report)])
    report.provenance["machine"]["load"] = 1.4
    assert "a load of 1.4 on 2 cores" in page([("r.json", report)])


def test_each_of_transformers_ways_stands_with_its_best_setting():
    marks = {mark.label: mark for mark in marks_of(result().tasks)}
    assert list(marks) == ["stretto plain", "stretto fuse(a<b,draft)", "transformers lookup"]
    assert marks["transformers lookup"].on(result().tasks[0]).name == "hf lookup 10"


def test_figures_add_up():
    tasks = result((Column(),)).tasks
    mark, profile = next((m, p) for m, p in figures.drafting(tasks) if m.ours)
    assert mark.label == "stretto fuse(a<b,draft)"
    assert profile.rounds == 120 and profile.depths == [[90, 60], [60, 36], [36, 6]]
    assert figures._windows([mark.on(each) for each in tasks]) == [(1, 30, 0.002), (4, 90, pytest.approx(0.003))]
    assert figures._per_token([[0, 0.0], [4, 0.1], [10, 0.2], [12, 0.3]]) == (
        [0, 10, 12],
        [20.0, 20.0, pytest.approx(50.0)],
    )


def test_the_same_result_gives_the_same_page(tmp_path: Path):
    report = result((Column(),), {"plain": 20.0, "lookup": 50.0})
    report.save(tmp_path / "r.json")
    assert page([("r.json", Report.load(tmp_path / "r.json"))]) == page([("r.json", report)])

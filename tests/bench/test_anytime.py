"""Searches by what they may take: every point is of the same questions, and costs are whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import zoo
from stretto.bench.anytime import Anytime, Book, Checker, Contestant, contestants, cost, measured, plot, table
from stretto.bench.provenance import provenance
from stretto.engine import Engine
from stretto.search.best_of import BestOf
from stretto.search.scorer import Draft

PROVENANCE = provenance(model="zoo/causal")


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


def test_points_are_of_the_same_questions_and_are_stored(engine: Engine, tmp_path: Path) -> None:
    book = Book(engine, ("list_edit",), 3, seed=1)
    chosen = (
        Contestant("greedy", "none", (1.0,), lambda n: "plain"),
        Contestant("best of n", "checker", (1.0, 3.0), lambda n: BestOf(int(n), Checker(book)), lambda n: DRAWN),
    )
    found = Anytime(PROVENANCE, len(book.chats), list(measured(engine, book, chosen, seed=2)))
    greedy, few, many = (point for curve in found.curves for point in curve.points)
    assert few.right <= many.right and few.counters.scorer_calls == 3 < many.counters.scorer_calls <= 9
    assert cost(many, "token_forwards", 3) > 2 * cost(few, "token_forwards", 3) > 0 == greedy.counters.scorer_calls
    found.save(tmp_path / "found.json")
    assert Anytime.load(tmp_path / "found.json") == found
    assert table(found).count("\n| ") == 3
    plot(found, tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 10_000


DRAWN = {"temperature": 1.0}


def test_the_checker_judges_by_the_prompt(engine: Engine) -> None:
    book = Book(engine, ("list_edit", "counting"), 2, seed=1)
    scoring = Checker(book).begin(None)  # type: ignore[arg-type]
    drafts = [
        Draft(prompt, tuple(engine.codec.encode_piece(each.answer)), decode=engine.decode)
        for prompt, question in book.questions.items()
        for each in (question, next(iter(book.questions.values())))
    ]
    assert scoring.full(drafts) == [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert {each.judge for each in contestants(book)} == {"none", "heads", "checker"}

"""Searches that draw and judge: who is asked what, where segments end, what a bad scorer does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest

from stretto import method as methods
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.best_of import BestOf
from stretto.search.guided import Guided
from stretto.search.loop import Searched
from stretto.search.scorer import Scorer, Scoring
from stretto.search.scorers.by_function import ByFunction
from stretto.search.scorers.matches import Matches
from stretto.search.segmenters import AtPattern, AtTokens, Every
from stretto.search.within import Within

MODEL = TableModel.random(6, seed=4, order=3)
SETTINGS = {"max_new_tokens": 12, "end_tokens": (), "temperature": 1.0, "seed": 5}
ASKED: list[tuple[str, list[tuple[int, ...]]]] = []


@dataclass(frozen=True)
class Sum(Scorer):
    """Likes large tokens, and notes what it is asked."""

    name = "sum-of-tokens"

    def begin(self, context: Any) -> Scoring:
        return Summing()


@dataclass(frozen=True)
class Summing(Scoring):
    seen: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)

    def full(self, drafts: Any) -> list[float]:
        return self.note("full", drafts)

    def prefix(self, drafts: Any) -> list[float]:
        return self.note("prefix", drafts)

    def note(self, what: str, drafts: Any) -> list[float]:
        ASKED.append((what, [draft.tokens for draft in drafts]))
        assert not self.seen & {(what, draft.tokens) for draft in drafts}, "asked twice"
        self.seen.update((what, draft.tokens) for draft in drafts)
        return [sum(draft.tokens) for draft in drafts]


def engine() -> Engine:
    return Engine(MODEL, clock=SimulatedClock())


def test_beginnings_are_judged_where_segments_end_and_the_best_go_on():
    ASKED.clear()
    found = engine().generate([[0, 1]], Searched(Guided(6, 2, Sum(), Every(4))), samples=6, **SETTINGS)
    assert [what for what, _ in ASKED] == ["prefix", "prefix", "full"]
    for (_, before), (what, after) in itertools.pairwise(ASKED):
        size = 4 if len(before[0]) == 4 else 8
        assert {len(tokens) for tokens in before} == {size} and {len(tokens) for tokens in after} == {size + 4}
        kept = {tokens[:size] for tokens in after}
        assert len(kept) <= 2 and min(map(sum, kept)) >= sorted(map(sum, set(before)))[-2]
        assert what != "full" or len(after) > 2
    sums = [sum(answer.tokens) for answer in found]
    assert sums == sorted(sums, reverse=True) and len({tuple(answer.tokens) for answer in found}) > 2


def test_a_search_by_value_with_any_function():
    found = engine().generate([[0, 1]], BestOf(5, ByFunction(lambda text: text.count("3"))), samples=5, **SETTINGS)
    threes = [answer.tokens.count(3) for answer in found]
    assert threes == sorted(threes, reverse=True) and threes[0] > threes[-1]


def test_a_scorer_that_fails_or_has_no_number_fails_its_own_prompt_alone():
    served = engine()
    free = served.generate([[0, 1], [3, 3], [2, 2]], "best-of(1)", **SETTINGS)
    bad = [answer is free[1] for answer in free]
    assert len({answer.text for answer in free}) == 3

    def judge(text: str) -> float:
        return float("nan") if text == free[1].text.strip() else 1.0

    found = served.generate([[0, 1], [3, 3], [2, 2]], BestOf(1, ByFunction(judge)), **SETTINGS)
    for mine, other, wrong in zip(found, free, bad, strict=True):
        assert (mine.finish == "error") == wrong
        assert wrong or mine.tokens == other.tokens
        assert not wrong or "no number" in str(mine.error)


def test_where_segments_end():
    def ends(segmenter: Any, tokens: list[int]) -> list[int]:
        found, segment = [], segmenter.open(None)
        for at, token in enumerate(tokens):
            if segment.push(token):
                found.append(at)
                segment = segmenter.open(None)
        return found

    tokens = [1, 2, 3, 2, 5, 2, 3, 3]
    assert ends(Every(3), tokens) == [2, 5]
    assert ends(AtTokens(frozenset({5, 1})), tokens) == [0, 4]
    assert ends(AtPattern("2 3"), tokens) == [2, 6]


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (Every, {"tokens": 0}),
        (AtPattern, {"pattern": "("}),
        (Matches, {"pattern": "["}),
        (BestOf, {"n": 0}),
        (Within, {"tokens": -1}),
    ],
)
def test_settings_out_of_range(part, settings):
    with pytest.raises(InvalidRequest) as caught:
        part(**settings)
    assert caught.value.hint


def test_what_they_cannot_serve_is_refused():
    with pytest.raises(Unsupported, match="temperature=1"):
        engine().generate([0], "best-of(3)")
    with pytest.raises(InvalidRequest, match="multiple of what is kept"):
        Guided(5, 2)
    with pytest.raises(Unsupported, match="would change the branches"):
        engine().generate([0], "beam+lookup+typical")
    with pytest.raises(InvalidRequest, match="no drafter"):
        engine().generate([0], "beam+fixed(3)")


def test_a_method_is_read_back_from_its_text():
    for text in (
        "beam(3)+lookup+fixed(4)",
        "best-of(n=2,scorer=matches(pattern=a b))+suffix",
        "guided(segmenter=every(3))",
    ):
        method = methods.parse(text)
        assert methods.parse(methods.describe(method)) == method
        assert isinstance(method, Searched)

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from bench.subjects import END, subject
from stretto import method as methods
from stretto.bench.contestants import Case, Draw, Ours, with_models
from stretto.bench.harness import measure
from stretto.entry import Guarantee
from stretto.models.contract import Model
from stretto.models.table import TableModel
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Drafter, Drafting, DraftSession
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import Tree

FORCED, FREE = Case([1], [2], True), Case([1], [2], False)
GREEDY, DRAWN = Draw(), Draw(1.0)


@pytest.fixture(scope="module")
def world():
    return subject()


@pytest.mark.parametrize(
    ("guarantee", "bound"),
    [
        (Guarantee.EXACT, [True, True, True]),
        (Guarantee.DISTRIBUTION, [True, True, False]),  # draws by its own coins
        (Guarantee.APPROXIMATE, [False, False, False]),
        (Guarantee.NONE, [False, False, False]),
    ],
)
def test_who_must_write_the_expected_text(world, guarantee, bound):
    class Judge(Exact):
        pass

    Judge.guarantee = guarantee
    method = replace(methods.parse("lookup"), accept=Judge())
    contestant = Ours("x", world.engine, world.replayed, method, 8)
    assert [contestant.bound(FREE, GREEDY), contestant.bound(FORCED, DRAWN), contestant.bound(FREE, DRAWN)] == bound


@dataclass(frozen=True, slots=True)
class Both(Drafter):
    """Holds drafters, as fusions do, and a model of its own under another name."""

    parts: tuple[Drafter, ...] = ()
    last: Drafter | None = None
    small: str | Model = "mine"
    name: ClassVar[str] = "both"

    def begin(self, context):
        raise AssertionError


def test_models_take_their_names_place_at_any_depth(world):
    inner = Both((DraftModel(), Lookup()), DraftModel("other"), "other")
    method = replace(methods.parse("lookup"), draft=Both((inner, DraftModel("mine"))))
    asked, other = [], TableModel.random(4, seed=9)
    found = with_models(method, world.replayed, ("mine", world.draft), lambda name: asked.append(name) or other).draft
    nested, outer = found.parts
    assert found.small is outer.model is nested.parts[0].model is world.draft
    assert nested.parts[1] == Lookup()
    assert nested.last.model is nested.small is other and asked == ["other", "other"]
    assert with_models(method, world.replayed) == method


@pytest.mark.parametrize("text", ["plain", "lookup", "lookup+fixed(4)"])
def test_other_methods_stay_as_they_are(world, text):
    assert with_models(text, world.replayed, ("zoo/draft", world.draft)) == methods.parse(text)


@dataclass(frozen=True, slots=True)
class Parrot(Drafter):
    """Repeats what it saw in earlier decodes, as drafters do that share what they learnt."""

    name: ClassVar[str] = "parrot"

    def begin(self, context):
        seen = context.remembered(list, "parrot", list)
        return Drafting(self, lambda row: ParrotSession(row, seen))


class ParrotSession(DraftSession):
    def __init__(self, row, seen):
        self.row, self.seen = row, seen

    def propose(self, room):
        tokens = self.row.history.tokens
        text = next((text for text in self.seen if text[: len(tokens)] == tokens), [])
        return Tree.chain(text[len(tokens) : len(tokens) + room.depth])

    def fork(self, row):
        return ParrotSession(row, self.seen)

    def close(self):
        self.seen.append(list(self.row.history.tokens))


def test_a_text_is_never_met_again(world):
    """Of the measured texts nothing is known beforehand: not from the warm-up, not from a repeat, not from a column."""
    contestant = Ours("parrot", world.engine, world.replayed, Speculate(Parrot(), Exact(), Fixed(4)), 12)
    spare = Case([5, 6, 7], [8, 9, 10, 11, END], True)
    groups = [[Case([first, 6, 7], [8, 9, 10, 11, END], True)] for first in (20, 21)]
    for warm in ([spare], []):
        for draw in (Draw(), Draw(1.0), Draw(stream="another")):
            for run in measure([contestant], groups, 3, draw, spare=warm):
                assert run.answer.tokens == [groups[run.group][0].expected]
                assert run.answer.counters.drafted == 0, "it knew the text"
        contestant = Ours("parrot", world.engine, world.replayed, Speculate(Parrot(), Exact(), Fixed(4)), 12)
    contestant.prepare(groups[0])
    contestant.answer(groups[0])
    assert contestant.answer(groups[0]).counters.accepted == 4  # it would have


def test_a_stream_remembers_other_texts(world):
    contestant = Ours("parrot", world.engine, world.replayed, Speculate(Parrot(), Exact(), Fixed(4)), 12)
    spare = [Case([5, 6, 7], [8, 9, 10, 11, END], True)]
    measure([contestant], [[Case([20, 6, 7], [8, 9, END], True)]], 2, spare=spare)
    contestant.prepare(spare, Draw(repeat=1))
    assert contestant.answer(spare).counters.accepted == 4

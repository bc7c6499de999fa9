from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws.worlds import decode
from speculate.drafters.by_hand import row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.speculate.contract import Room
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.suffix import BREAK, Others, Suffix
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import Siblings

A, B, C, D, E = range(5)
WIDE = Room(99, 99)


def context():
    return Context(TableModel.random(5, 0), SimulatedClock(), lambda name: None)


def session(tokens, here=None, **settings):
    row = row_of(tokens)
    return row, Suffix(**settings).begin(here or context()).open(row)


def test_the_draft_grows_with_the_match():
    tokens = [A, B, C, D, E, D, C, D, A, A, B, C]
    _, s = session(tokens, factor=1)
    assert s.propose(WIDE).tokens == [D, E, D]
    _, s = session(tokens, factor=0.5, offset=0.5)
    assert s.propose(WIDE).tokens == [D, E]
    _, s = session(tokens, factor=0, offset=5)
    assert s.propose(WIDE).tokens == [D, E, D, C, D]
    assert s.propose(Room(9, 2)).tokens == s.propose(Room(2, 9)).tokens == [D, E]
    assert s.propose(WIDE).scores[0] == pytest.approx(3 / 4)
    _, s = session(tokens, least=4)
    assert len(s.propose(WIDE)) == 0


def test_the_end_never_matches_itself():
    for tokens in ([A], [A, B, C]):
        _, s = session(tokens)
        assert len(s.propose(WIDE)) == 0
    _, s = session([A, A])
    assert s.propose(WIDE).tokens == [A]


def test_it_copies_from_a_late_occurrence_or_from_the_first():
    tokens = [A, B, C, A, B, D, A, B]
    _, s = session(tokens, factor=0, offset=2)
    assert s.propose(WIDE).tokens == [D, A]
    _, s = session(tokens, factor=0, offset=2, newest=False)
    assert s.propose(WIDE).tokens == [C, A]


def test_shorter_ends_add_branches():
    tokens = [B, E, A, B, C, D, A, B]
    _, s = session(tokens, matches=2, newest=False, factor=0, offset=2)
    tree = s.propose(WIDE)
    assert {tuple(tree.path_tokens(node)) for node in range(len(tree))} == {(C,), (C, D), (E,), (E, A)}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=50), st.integers(1, 30))
def test_the_draft_follows_the_longest_earlier_match(tokens, cut):
    """After every round, whatever the rounds: what is drafted follows a longest earlier occurrence, by trying."""
    row, s = session(tokens[:cut], factor=0, offset=3)
    for token in [*tokens[cut:], None]:
        text, draft = row.history.tokens, s.propose(WIDE).tokens
        sizes = [n for n in range(1, len(text)) if any(text[e - n : e] == text[-n:] for e in range(n, len(text)))]
        ends = (
            [e for e in range(sizes[-1], len(text)) if text[e - sizes[-1] : e] == text[-sizes[-1] :]] if sizes else []
        )
        assert draft in ([text[e : e + 3] for e in ends] if ends else [[]])
        if token is not None:
            row.history.extend([token])


def test_answers_of_earlier_requests_are_found_after_they_ended():
    here = context()
    row, first = session([A, B], here, shared=True, bias=0, factor=0, offset=3)
    row.history.extend([C, D, E, E])
    first.propose(WIDE)
    _, other = session([E, A, B], here, shared=True, bias=0, factor=0, offset=3)
    assert len(other.propose(WIDE)) == 0
    first.close()
    tree = other.propose(WIDE)
    assert tree.tokens == [C, D, E] and set(tree.sources) == {"suffix, shared"}
    _, alone = session([E, A, B], here, factor=0, offset=3)
    assert len(alone.propose(WIDE)) == 0
    assert BREAK not in session([E, E], here, shared=True, bias=0, factor=0, offset=3)[1].propose(WIDE).tokens


def test_elsewhere_must_match_longer_by_the_bias():
    here = context()
    row, first = session([D], here, shared=True)
    row.history.extend([A, B, C, E, E])
    first.close()
    tokens = [C, D, D, A, B, C]  # `C` matches here, `D A B C` there
    _, s = session(tokens, here, shared=True, bias=3, factor=0, offset=1)
    assert s.propose(WIDE).tokens == [E]
    _, s = session(tokens, here, shared=True, bias=4, factor=0, offset=1)
    assert s.propose(WIDE).tokens == [D]


def test_shared_texts_are_capped_and_the_oldest_go_first():
    others = Others(capacity=50)
    chance = random.Random(0)
    for _ in range(100):
        others.add(chance.choices(range(5), k=chance.randrange(1, 20)))
        sizes = [len(generation.tokens) for generation in others.generations]
        assert sum(sizes) <= 100 and all(g.automaton.size == len(g.tokens) for g in others.generations)
    others.add([A, B] * 200)
    assert len(others.generations[0].tokens) <= 50
    others.add([C] * 30)
    others.add([D] * 30)
    assert A not in others.generations[0].tokens + others.generations[1].tokens
    assert sum(len(g.tokens) for g in others.generations) >= 30


def test_a_copy_of_a_row_goes_its_own_way():
    row, s = session([A, B, C, A])
    s.propose(WIDE)
    twin = row_of(row.history.tokens)
    copy = s.fork(twin)
    row.history.extend([B])
    twin.history.extend([C])
    assert s.propose(WIDE).tokens[:1] == [C] and copy.propose(WIDE).tokens[:1] == [A]


def test_on_repeated_episodes_it_accepts_more_than_lookup():
    """Episodes with a long middle in common: only a match that reaches to their first token tells how they end."""
    chance = random.Random(1)
    middle = list(range(5, 15))
    episodes = {head: [head, *middle, *chance.choices(range(15, 40), k=6)] for head in range(5)}
    text = [token for head in chance.choices(range(5), k=40) for token in episodes[head]]
    model = TableModel(40, lambda path: [float(token == text[len(path)]) for token in range(40)])

    def tau(drafter):
        row = decode(model, [text[:120]], drafter=drafter, planner=Fixed(8), new_tokens=300)[0]
        return row.counters.tokens_per_round

    suffix, lookup = tau(Suffix(offset=8)), tau(Lookup())
    assert suffix > 1.15 * lookup > 1.15


def test_settings_out_of_range_are_refused_and_trees_are_declared():
    for wrong in (
        {"factor": -1},
        {"factor": 0},
        {"least": 0},
        {"matches": 0},
        {"bias": -1},
        {"capacity": 0},
    ):
        with pytest.raises(InvalidRequest):
            Suffix(**wrong)
    assert (Suffix().needs, Suffix().siblings) == (Ability.NONE, Siblings.NONE)
    assert (Suffix(matches=2).needs, Suffix(matches=2).siblings) == (Ability.TREE, Siblings.DISTINCT)

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.errors import InvalidRequest
from stretto.models.contract import Ability
from stretto.row import Limits, Row
from stretto.speculate.contract import Room
from stretto.speculate.drafters import lookup as module
from stretto.speculate.drafters.lookup import Lookup, LookupSession
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.tree import Siblings
from tracing import lines_run

A, B, C, D = range(4)


def session(tokens, **settings):
    row = Row(History(tokens), -1, Rule(Pipeline([]), 0, 0), Limits(9))
    return row, LookupSession(Lookup(**settings), row)


def test_by_hand():
    _, s = session([A, B, C, D, A, B], longest=2, shortest=2)
    assert s.propose(Room(10, 10)).tokens == [C, D, A, B]
    assert s.propose(Room(2, 10)).tokens == s.propose(Room(10, 2)).tokens == [C, D]


def test_the_end_never_matches_itself():
    _, s = session([A, B, C], longest=3)
    assert len(s.propose(Room(9, 9))) == 0
    _, s = session([A], longest=3)
    assert len(s.propose(Room(9, 9))) == 0


def test_the_newest_match_of_the_longest_length_comes_first():
    tokens = [A, B, C, D, A, B, D, C, A, B]
    _, s = session(tokens, longest=3)
    assert s.propose(Room(3, 3)).tokens == [D, C, A]
    _, s = session(tokens, longest=3, matches=2)
    tree = s.propose(Room(6, 3))
    paths = {tuple(tree.path_tokens(node)) for node in range(len(tree))}
    assert paths == {(D,), (D, C), (D, C, A), (C,), (C, D), (C, D, A)}
    assert tree.scores[0] == pytest.approx(2 / 3)


def test_the_first_match_as_published():
    """Of several matches the first, and only where the whole continuation is there."""
    tokens = [A, B, C, D, A, B, D, C, A, B]
    _, s = session(tokens, longest=2, newest=False)
    assert s.propose(Room(3, 3)).tokens == [C, D, A]
    _, s = session(tokens, longest=2, newest=False, whole=True)
    assert s.propose(Room(8, 8)).tokens == [C, D, A, B, D, C, A, B]
    assert len(s.propose(Room(9, 9))) == 0  # neither `A B` nor `B` was followed by nine tokens


def test_only_whole_continuations():
    tokens = [A, B, C, D, A, B, D, A, B]
    _, s = session(tokens, longest=2, whole=True)
    assert s.propose(Room(3, 3)).tokens == [D, A, B]
    assert s.propose(Room(4, 9)).tokens == [C, D, A, B]  # after the newest there are three only
    _, s = session([A, C, C, B, C, A, B, C], longest=2, whole=True)
    assert s.propose(Room(4, 4)).tokens == [B, C, A, B]  # after `B C` there are three: a shorter match has more


def test_settings_out_of_range_are_refused_and_trees_are_declared():
    for wrong in ({"longest": 0}, {"shortest": 4}, {"matches": 0}, {"matches": 2, "newest": False}):
        with pytest.raises(InvalidRequest):
            Lookup(**wrong)
    assert (Lookup().needs, Lookup().siblings) == (Ability.NONE, Siblings.NONE)
    assert (Lookup(matches=2).needs, Lookup(matches=2).siblings) == (Ability.TREE, Siblings.DISTINCT)


SETTINGS = [
    {"longest": 3},
    {"longest": 3, "matches": 2},
    {"longest": 4, "shortest": 2, "matches": 3},
    {"longest": 3, "newest": False},
    {"longest": 2, "whole": True},
    {"longest": 3, "matches": 2, "whole": True},
    {"longest": 2, "newest": False, "whole": True},
]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 30), st.sampled_from(SETTINGS))
def test_growing_gives_what_starting_over_gives(tokens, cut, settings):
    """The incremental index equals one made of the whole text, and both equal a plain scan."""
    row, growing = session(tokens[:cut], **settings)
    growing.propose(Room(5, 5))
    for token in tokens[cut:]:
        row.history.extend([token])
        growing.propose(Room(5, 5))
    _, fresh = session(tokens, **settings)
    assert growing.propose(Room(5, 5)) == fresh.propose(Room(5, 5))
    chains = scan(row.history.tokens, Lookup(**settings), 5)
    tree = fresh.propose(Room(99, 5))
    assert {tuple(tree.path_tokens(node)) for node in range(len(tree))} == {
        tuple(chain[:size]) for chain in chains for size in range(1, len(chain) + 1)
    }
    assert tree.tokens[:1] == [token for chain in chains[:1] for token in chain[:1]]


def scan(tokens, settings, depth):
    """The continuations of the longest match, the preferred first, by looking at every place."""
    for length in range(min(settings.longest, len(tokens) - 1), settings.shortest - 1, -1):
        ends = [end for end in range(length, len(tokens)) if tokens[end - length : end] == tokens[-length:]]
        if not settings.newest:
            ends = ends[:1]
        if settings.whole:
            ends = [end for end in ends if end + depth <= len(tokens)]
        if ends:
            return [tokens[end : end + depth] for end in ends[::-1][: settings.matches]]
    return []


def test_a_token_costs_the_same_however_long_the_text():
    """Counted in executed lines: 400 tokens after 400 and after 8,000, in rounds of two."""
    chance = random.Random(0)
    for settings in ({}, {"matches": 3}, {"whole": True}):
        row, s = session(chance.choices(range(50), k=400), **settings)
        s.propose(Room(8, 8))

        def decode(row=row, s=s):
            for _ in range(200):
                row.history.extend(chance.choices(range(50), k=2))
                s.propose(Room(8, 8))

        early = lines_run(module, decode)
        row.history.extend(chance.choices(range(50), k=7200))
        s.propose(Room(8, 8))
        assert lines_run(module, decode) < 1.3 * early

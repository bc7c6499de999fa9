from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.row import Limits, Row
from stretto.speculate.contract import Room
from stretto.speculate.drafters.lookup import Lookup, LookupSession
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline

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


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 30))
def test_growing_gives_what_starting_over_gives(tokens, cut):
    """The incremental index equals one made of the whole text, and both equal a plain scan."""
    row, growing = session(tokens[:cut], longest=3, matches=2)
    growing.propose(Room(5, 5))
    for token in tokens[cut:]:
        row.history.extend([token])
        growing.propose(Room(5, 5))
    _, fresh = session(tokens, longest=3, matches=2)
    assert growing.propose(Room(5, 5)) == fresh.propose(Room(5, 5))
    assert fresh.propose(Room(5, 5)).tokens[:1] == scan(row.history.tokens, 3)[:1]


def scan(tokens, longest):
    for length in range(min(longest, len(tokens) - 1), 0, -1):
        for start in range(len(tokens) - length - 1, -1, -1):
            if tokens[start : start + length] == tokens[-length:]:
                return tokens[start + length :]
    return []

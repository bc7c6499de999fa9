from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stretto.speculate.grams import FEW, Bounded, Grams

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(TEXTS, st.integers(1, 4))
def test_counts_are_those_of_a_search_through_the_text(tokens, orders):
    grams = Grams(orders, 1000)
    for at in range(len(tokens)):
        grams.add(tokens, at)
    expected = []
    for order in range(1, min(orders, len(tokens)) + 1):
        end = tokens[-order:]
        follow = [tokens[at + order] for at in range(len(tokens) - order) if tokens[at : at + order] == end]
        if not follow:
            break
        expected.append((len(follow), Counter(follow)))
    found = grams.after(tokens[::-1])
    assert [(total, dict(counts)) for total, counts in found] == expected
    if expected:
        assert found[0][1][0][0] == next(
            b for a, b in zip(tokens[-2::-1], tokens[:0:-1], strict=True) if a == tokens[-1]
        )


def test_of_many_followers_the_latest_are_remembered_and_all_are_counted():
    grams = Grams(1, 1000)
    for follower in range(1, FEW + 4):
        grams.add([0, follower], 1)
    ((total, counts),) = grams.after([0])
    assert total == FEW + 3 and [token for token, _ in counts] == list(range(FEW + 3, 3, -1))


def test_a_copy_goes_its_own_way():
    grams = Grams(2, 1000)
    grams.add([1, 2], 1)
    copy = grams.copy()
    copy.add([1, 3], 1)
    grams.add([2, 0], 1)
    assert grams.after([1]) == [(1, ((2, 1),))] and copy.after([1]) == [(2, ((3, 1), (2, 1)))]
    assert copy.after([2]) == [] and grams.after([2]) == [(1, ((0, 1),))]


def test_what_is_not_looked_up_is_forgotten_first_and_the_table_stays_small():
    table: Bounded[str] = Bounded(10)
    for key in range(200):
        table.put(key, str(key))
        assert table.find(0) == "0"  # in use
        assert table.find(key) == str(key) and len(table) <= 20
    assert table.find(150) is None and table.find(195) == "195"
    copy = table.copy()
    copy.put(0, "other")
    assert table.find(0) == "0" and copy.find(0) == "other"

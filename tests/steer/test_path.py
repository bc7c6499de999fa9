"""Histories and paths against plain counting."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from steer.slow import completing, in_scope
from stretto.steer.occurrences import occurrences
from stretto.steer.path import History, Path, Scope

TOKENS = st.lists(st.integers(0, 5), max_size=8)
SCOPES = st.sampled_from(Scope)


def look(path: Path) -> list[object]:
    """Everything one can see from a path."""
    return [
        (path.followers(size, scope), path.last(size, scope), [path.count(token, scope) for token in range(6)])
        for size in (1, 2, 3)
        for scope in Scope
    ]


@settings(max_examples=200)
@given(prompt=TOKENS, chunks=st.lists(TOKENS, max_size=4), drafted=TOKENS, scope=SCOPES, size=st.integers(1, 4))
def test_a_path_is_its_tokens(
    prompt: list[int], chunks: list[list[int]], drafted: list[int], scope: Scope, size: int
) -> None:
    history = History(prompt)
    for chunk in [[], *chunks]:  # looking in between, so that the indices grow step by step
        history.extend(chunk)
        path = Path(history, tuple(drafted))
        output = [*history.tokens[len(prompt) :], *drafted]
        tokens = in_scope(prompt, output, scope)
        assert len(path) == len(prompt) + len(output)
        assert path.output_length == len(output)
        assert list(path.last(size, scope)) == tokens[-size:]
        assert path.last(0, scope) == ()
        assert {token: path.count(token, scope) for token in tokens} == Counter(tokens)
        assert path.followers(size, scope) == completing(tokens, size)


@settings(max_examples=200)
@given(
    rows=st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=3),
    nodes=st.lists(st.tuples(st.integers(0, 2), TOKENS), max_size=5),
    scope=SCOPES,
    last=st.integers(0, 3),
)
def test_occurrences_count_each_node_on_its_own(
    rows: list[tuple[list[int], list[int]]],
    nodes: list[tuple[int, list[int]]],
    scope: Scope,
    last: int,
) -> None:
    histories = [History(prompt) for prompt, _ in rows]
    for history, (_, output) in zip(histories, rows, strict=True):
        history.extend(output)
    nodes = [(row % len(rows), drafted) for row, drafted in nodes]
    found = occurrences([Path(histories[row], tuple(drafted)) for row, drafted in nodes], scope, last, 6)
    assert len(set(found.flat.tolist())) == len(found.flat)
    expected = {
        node * 6 + token: count
        for node, (row, drafted) in enumerate(nodes)
        for token, count in Counter(in_scope(rows[row][0], [*rows[row][1], *drafted], scope, last)).items()
    }
    assert dict(zip(found.flat.tolist(), found.counts.tolist(), strict=True)) == expected


@settings(max_examples=50)
@given(prompt=TOKENS, shared=TOKENS, mine=TOKENS, other=TOKENS, looked=st.booleans())
def test_a_fork_goes_its_own_way(
    prompt: list[int], shared: list[int], mine: list[int], other: list[int], looked: bool
) -> None:
    history = History(prompt)
    history.extend(shared)
    if looked:
        look(Path(history))
    twin = history.fork()
    history.extend(mine)
    twin.extend(other)
    for forked, tail in ((history, mine), (twin, other)):
        fresh = History(prompt)
        fresh.extend([*shared, *tail])
        assert forked.tokens == fresh.tokens
        assert forked.prompt_length == len(prompt)
        assert look(Path(forked)) == look(Path(fresh))
        for scope in Scope:
            seen, expected = (occurrences([Path(which)], scope, 0, 6) for which in (forked, fresh))
            assert seen.flat.tolist() == expected.flat.tolist()
            assert seen.counts.tolist() == expected.counts.tolist()


def test_many_distinct_tokens_outgrow_every_buffer() -> None:
    history = History(range(50))
    for token in range(50, 1000):
        history.extend([token, token // 2])
        seen = occurrences([Path(history)], Scope.PATH, 0, 1000)
    assert dict(zip(seen.flat.tolist(), seen.counts.tolist(), strict=True)) == Counter(history.tokens)


def test_looking_changes_nothing_and_drafts_leave_no_trace() -> None:
    history = History([1, 2, 1])
    history.extend([2, 3])
    before = look(Path(history))
    look(Path(history, (1, 2, 4, 4)))
    occurrences([Path(history, (4, 4, 1))] * 2, Scope.OUTPUT, 0, 6)
    assert history.tokens == [1, 2, 1, 2, 3]
    assert look(Path(history)) == before

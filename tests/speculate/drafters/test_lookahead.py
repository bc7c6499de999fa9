from __future__ import annotations

import pytest
import torch

from laws.worlds import decode, plainly
from speculate.drafters.by_hand import GREEDY, cyclic, logits_of, play, row_of
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.lookahead import Lookahead, LookaheadSession
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, NodeKind, Tree

SAMPLED = Pipeline([Temperature(1.0)])


def session_of(tokens, *, ends=frozenset(), pipeline=GREEDY, **settings):
    row = row_of(tokens, pipeline, ends=ends)
    return row, LookaheadSession(Lookahead(**settings), row)


def riders(tree: Tree) -> dict[tuple[int, ...], int]:
    """What each rider sees of the window, itself last, with its depth."""
    return {
        tuple(tree.path_tokens(node)): tree.depths[node]
        for node, proposal in enumerate(tree.proposals)
        if proposal is NodeKind.RIDER
    }


def test_who_sees_whom_in_a_window_of_two_by_two():
    """Row r, column j sees row 0 up to j and column j down to r, and stands at 1 + r + j."""
    _, session = session_of([5], level=3, window=2, guesses=2)
    session.rows, session.ages = [[10, 11], [20, 21]], [2, 2]
    session.pool = {5: {(30, 31): None, (30, 32): None}, 6: {(1, 1): None}}
    tree = session.propose(Room(99, 99))
    assert riders(tree) == {(10,): 1, (10, 20): 2, (10, 11): 2, (10, 11, 21): 3}
    points = {tuple(tree.path_tokens(n)) for n in range(len(tree)) if tree.proposals[n] is NodeKind.POINT}
    assert points == {(30,), (30, 31), (30, 32)}  # the candidates see each other's common beginning and no rider
    assert tree.tokens[:2] == [30, 32]  # the newest first


def test_a_small_room_leaves_the_window_half_and_shows_its_first_columns():
    _, session = session_of([5], level=3, window=3, guesses=2)
    session.rows, session.ages = [[10, 11, 12], [20, 21, 22]], [1, 1, 1]
    session.pool = {5: {(30, 31): None, (40, 41): None}}
    shown = {8: 2, 6: 1, 4: 1, 3: 1, 2: 0, 10: 3}
    for nodes, columns in shown.items():
        tree = session.propose(Room(nodes, 99))
        assert (len(riders(tree)), len(tree) - len(riders(tree))) == (2 * columns, min(4, max(nodes - 6, nodes // 2)))
    assert len(riders(session.propose(Room(99, 2)))) == 2  # one column: column 1 of row 1 would stand at depth 3
    assert riders(session.propose(Room(99, 1))) == {}


def test_no_window_to_speak_of_is_plain_decoding():
    model = TableModel.random(5, seed=3)
    for level in (2, 3, 5):
        drafter = Lookahead(level=level, window=1, guesses=0)
        row = decode(model, [[1, 2]], drafter=drafter, planner=Fixed(30), new_tokens=12)[0]
        assert row.new_tokens == plainly(model, [1, 2], GREEDY, 0, 12)
        assert row.counters.rounds == 12 and row.counters.accepted == 0 and row.counters.drafted > 0


@pytest.mark.parametrize("pipeline", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_rows_and_n_grams_are_those_of_the_definition(pipeline):
    """Slow reference: a column is a chain of tokens, each the best after the one before, one position and round on.

    Chains have a name that stays: position less round.
    """
    level, window, most = 4, 3, 2
    model = TableModel.random(5, seed=2, order=3)
    row, session = session_of([1, 2, 3], level=level, window=window, guesses=most, pipeline=pipeline)
    chains: dict[int, list[int]] = {}
    pool: dict[int, list[tuple[int, ...]]] = {}
    accepted = 0
    for turn in range(25):
        rows, newest = [tokens.copy() for tokens in session.rows], len(session.rows) - 1
        assert newest == min(turn, level - 2)
        assert {len(tokens) for tokens in rows} == {window + level - 2 - newest}
        for column in range(len(rows[0])):
            chain = chains.setdefault(len(row.history.tokens) + newest + column - turn, [rows[-1][column]])
            known = [tokens[column] for tokens in rows][-len(chain) :]
            assert chain[-len(known) :] == known
            seen = [*rows[0][: column + 1], *(tokens[column] for tokens in rows[1:])]
            logits = model.rule((*row.history.tokens, *seen))
            chain.append(max(range(5), key=logits.__getitem__))  # the best, also where the rule samples
            if len(chain) >= level:
                first, *gram = chain[-level:]
                pool[first] = [*(other for other in pool.get(first, []) if other != tuple(gram)), tuple(gram)][-most:]
        accepted += len(play(model, row, session, Room(99, 99)).path)
        assert {first: list(grams) for first, grams in session.pool.items()} == pool
    assert pool and accepted > 3  # tokens were skipped, so the window moved by more than one


def test_columns_that_were_not_shown_keep_their_guess():
    _, session = session_of([5], level=3, window=3, guesses=1)
    session.rows, session.ages = [[10, 11, 12], [20, 21, 22]], [1, 1, 1]
    tree = session.propose(Room(2, 9))  # one column
    logits = torch.zeros(3, 40)
    logits[2, 33] = 1.0
    session.row.history.extend([7])
    session.advance(Outcome(tree, [], [7], logits))
    assert session.rows[0] == [20, 21, 22]  # one position on, and one row on
    assert session.rows[1][:2] == [33, 22]
    assert session.pool == {10: {(20, 33): None}}
    assert session.ages == [2, 0, 0]  # the others yield nothing until they are the target's again


def test_a_trimmed_window_and_a_window_in_a_larger_tree_teach_the_same():
    model = TableModel.random(9, seed=2)
    row, session = session_of([1, 2, 3], level=3, window=2, guesses=2)
    for _ in range(3):
        play(model, row, session, Room(99, 99))
    tree = session.propose(Room(99, 99))
    wider = Tree()
    wider.add(8, source="other")
    for node in range(len(tree)):
        wider.add(
            tree.tokens[node],
            tree.parents[node] + (tree.parents[node] != ROOT),
            source=tree.sources[node],
            proposal=tree.proposals[node],
        )
    logits, more = logits_of(model, row, tree), logits_of(model, row, wider)
    twin = session.fork(row_of(row.history.tokens))
    for some in (row, twin.row):
        some.history.extend([0])
    session.advance(Outcome(tree, [], [0], logits))
    twin.advance(Outcome(wider, [], [0], more))
    assert (session.rows, session.pool) == (twin.rows, twin.pool)
    kept = session.fork(session.row)
    session.row.history.extend([1])
    session.advance(Outcome(Tree(), [], [1], logits[:1]))  # nothing of it was evaluated
    assert session.pool == kept.pool and [t[:1] for t in session.rows] == [t[1:] for t in kept.rows]


def test_periodic_text_is_hit_more_and_more():
    """Two rounds fill the window, the next finds n-grams, and in the end every round accepts a whole one."""
    drafter = Lookahead(level=4, window=8, guesses=3)
    row = decode(cyclic(5, 7), [[0, 6, 2]], drafter=drafter, planner=Fixed(40), new_tokens=60)[0]
    accepted = [len(step.accepted) for step in row.steps]
    assert accepted[:6] == [0, 0, 0, 3, 0, 3]
    assert set(accepted[6:-1]) == {3}
    assert all(source in ("", "lookahead") for step in row.steps for source in step.sources)  # riders are not committed


def test_ends_are_kept_out_of_the_window():
    model = TableModel(4, lambda path: [0.0, 1.0, 2.0, 3.0])  # 3 would always be best
    row, session = session_of([3, 3, 1], ends=frozenset({3}), level=3, window=3, guesses=2)
    for _ in range(5):
        tree = session.propose(Room(99, 99))
        assert 3 not in tree.tokens
        row.history.extend([2])
        session.advance(Outcome(tree, [], [2], logits_of(model, row, tree)))
    tokens = {token for first, grams in session.pool.items() for gram in grams for token in (first, *gram)}
    assert tokens == {1, 2}  # the prompt's only other token, and the second best


def test_the_pool_keeps_the_newest_and_may_begin_with_the_prompt():
    _, session = session_of([1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 5, 1], level=3, window=2, guesses=2, prompt=True)
    assert list(session.pool[1]) == [(2, 3), (2, 5)]  # (2, 3) came again after (2, 4), which is gone
    assert list(session.pool[2]) == [(3, 1), (5, 1)]
    tree = session.propose(Room(99, 99))
    assert [tree.tokens[n] for n in range(len(tree)) if tree.proposals[n] is NodeKind.POINT] == [2, 5, 3]
    _, session = session_of([1, 2, 3, 1], level=3, window=2, guesses=0, prompt=True)
    assert session.pool == {}


def test_a_fork_is_independent_and_alone_is_as_in_a_batch():
    model = TableModel.random(9, seed=2)
    row, session = session_of([1, 2, 3], level=3, window=2, guesses=2)
    for _ in range(4):
        play(model, row, session, Room(99, 99))
    twin = row_of(row.history.tokens)
    copy = session.fork(twin)
    rows, pool = [t.copy() for t in copy.rows], {token: grams.copy() for token, grams in copy.pool.items()}
    for _ in range(4):
        play(model, row, session, Room(99, 99))
    assert (copy.rows, copy.pool) == (rows, pool) != (session.rows, session.pool)
    drafter, prompts = Lookahead(level=3, window=3, guesses=2), [[1, 2, 3], [4], [5, 5]]
    together = decode(model, prompts, drafter=drafter, planner=Fixed(12), new_tokens=[15, 9, 20])
    for prompt, new, both in zip(prompts, (15, 9, 20), together, strict=True):
        alone = decode(model, [prompt], drafter=drafter, planner=Fixed(12), new_tokens=new)[0]
        assert [(s.drafted, s.parents) for s in alone.steps] == [(s.drafted, s.parents) for s in both.steps]


@pytest.mark.parametrize("settings", [{"level": 1}, {"window": 0}, {"guesses": -1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidRequest, match="lookahead"):
        Lookahead(**settings)

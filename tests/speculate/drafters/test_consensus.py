from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laws.worlds import plainly
from speculate.drafters.by_hand import play, row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.contract import NOTHING, Ability, Want
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.consensus import Consensus
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule
from stretto.steer.nodes import Nodes
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Siblings, Tree

A, B, C, D, E = range(5)
V = 5
WIDE = Room(99, 99)
CONTEXT = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)


def paths(tree):
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def commit(row, session, tokens, probabilities=None):
    """A round that commits these tokens, to which the model gave these probabilities."""
    logits = None
    tree, path = Tree.chain(tokens[:-1]), list(range(len(tokens) - 1))
    if probabilities is not None:
        rest = [(1 - p) / (V - 1) for p in probabilities]
        logits = torch.tensor(
            [
                [p if t == token else q for t in range(V)]
                for token, p, q in zip(tokens, probabilities, rest, strict=True)
            ]
        ).log()
    row.history.extend(tokens)
    session.advance(Outcome(tree, path, tokens, logits))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 20))
def test_one_sample_alone_is_lookup_on_its_own_text(tokens, cut):
    """All places of the longest match, merged: the same paths."""
    row = row_of(tokens[:cut])
    session = Consensus(least=0.0, hits=999, weighted=False).begin(CONTEXT).open(row)
    for token in [*tokens[cut:], None]:
        looked = Lookup(longest=4, matches=999).begin(CONTEXT).open(row_of(row.history.tokens)).propose(Room(999, 10))
        assert paths(session.propose(Room(999, 99))) == paths(looked)
        if token is not None:
            commit(row, session, [token])


def test_what_the_others_wrote_is_weighed_by_its_probabilities():
    drafting = Consensus(longest=2, least=0.0).begin(CONTEXT)
    rows = [row_of([E]) for _ in range(4)]
    sessions = [drafting.open(row) for row in rows]
    commit(rows[0], sessions[0], [A, B, C], [0.9, 0.9, 0.6])
    commit(rows[1], sessions[1], [A, B, D], [0.9, 0.9, 0.2])
    commit(rows[2], sessions[2], [D, A, B, D], [0.9, 0.9, 0.9, 0.1])
    commit(rows[3], sessions[3], [A, B], [0.5, 0.5])
    tree = sessions[3].propose(Room(2, 1))
    assert tree.tokens == [C, D]
    assert tree.scores == pytest.approx([0.6 / (0.9 + 1 / 2), 0.3 / (0.9 + 1 / 2)], rel=1e-3)
    counted = Consensus(longest=2, least=0.0, weighted=False).begin(CONTEXT)
    sessions = [counted.open(row) for row in [row_of([E]) for _ in rows]]
    for session, row in zip(sessions, rows, strict=True):
        twin = session.member.tokens
        twin.extend(row.new_tokens)
        session.advance(Outcome(Tree(), [], row.new_tokens))
    assert sessions[3].propose(Room(2, 1)).tokens == [D, C]  # two against one


def test_a_draft_ends_where_the_shares_multiply_below_the_least():
    drafting = Consensus(longest=1, least=0.3, weighted=False).begin(CONTEXT)
    rows = [row_of([E]) for _ in range(4)]
    sessions = [drafting.open(row) for row in rows]
    for row, session, tokens in zip(rows, sessions, ([A, B, C], [A, B, D], [A, C, D]), strict=False):
        commit(row, session, tokens)
    assert paths(sessions[3].propose(WIDE)) == {(A,), (A, B), (A, C), (A, B, C), (A, B, D), (A, C, D)}
    sessions[3].pool.settings = replace(sessions[3].pool.settings, least=0.4)
    assert paths(sessions[3].propose(WIDE)) == {(A,), (A, B)}
    assert paths(Consensus.begin(Consensus(least=1.0), CONTEXT).open(row_of([A, B, A, C, A])).propose(WIDE)) == set()


def test_rows_of_other_prompts_are_left_alone():
    drafting = Consensus().begin(CONTEXT)
    one, other = row_of([A]), row_of([B])
    first, second = drafting.open(one), drafting.open(other)
    commit(one, first, [C, D, E], [0.5] * 3)
    commit(other, second, [C], [0.5])
    assert len(second.propose(WIDE)) == 0


def test_a_prompt_counts_once_however_many_rows_it_has():
    drafting = Consensus().begin(CONTEXT)
    pools = {id(drafting.open(row_of([A, B, C, A, B, D])).pool): None for _ in range(3)}
    session = drafting.open(row_of([A, B, C, A, B, D]))
    assert list(pools) == [id(session.pool)] and len(session.pool._places) - 1 == 5


def test_rows_that_ended_stay_in_the_pool_and_removing_them_changes_no_other():
    drafting = Consensus(least=0.0).begin(CONTEXT)
    one, other = row_of([A]), row_of([A])
    first, second = drafting.open(one), drafting.open(other)
    commit(one, first, [C, D, E], [0.5] * 3)
    commit(other, second, [C], [0.5])
    before = second.propose(WIDE)
    assert paths(before) == {(D,), (D, E)}
    first.close()
    assert second.propose(WIDE) == before


def test_a_fork_shares_what_was_written_before_it_once():
    drafting = Consensus(least=0.0, weighted=False).begin(CONTEXT)
    row = row_of([A, B])
    session = drafting.open(row)
    commit(row, session, [C, A, B])
    twin = row_of([A, B])
    twin.history.extend([C, A, B])
    copy = session.fork(twin)
    assert copy.propose(WIDE) == session.propose(WIDE) and session.propose(WIDE).tokens == [C, A, B]
    commit(row, session, [D])
    commit(twin, copy, [E])
    pool = session.pool
    assert len(pool._places) - 1 == 4 + 2  # the tokens of the first text after its first, then one of each
    assert (session.member.weights, copy.member.weights) == ([1.0] * 4, [1.0] * 4)
    commit(twin, copy, [A, B])
    assert paths(copy.propose(Room(9, 1))) == {(C,), (D,), (E,)}


def test_probabilities_are_the_models_own():
    model = TableModel.random(V, 3)
    row = row_of([A, B])
    session = Consensus().begin(CONTEXT).open(row)
    for _ in range(6):
        play(model, row, session, Room(4, 4))
    tokens = row.history.tokens
    expected = [
        float(torch.tensor(model.rule(tuple(tokens[:at]))).softmax(-1)[tokens[at]]) for at in range(2, len(tokens))
    ]
    assert session.member.weights == pytest.approx(expected, rel=1e-4)
    assert session.member.weights_from(0, 4) == [1.0, 1.0, *session.member.weights[:2]]
    assert session.member.weights_from(3, 2) == session.member.weights[1:3]


def samples_of(model, prompt, count, drafter, new_tokens, temperature=1.0):
    """As the engine does it: one row joins, the others are forks of it with streams of their own."""
    context = Context(model, SimulatedClock(), lambda name: model)
    loop = Speculate(drafter, Exact(), Fixed(6)).loop(context, model.new_cache(slots=8))
    pipeline = Pipeline([Temperature(temperature)])
    rows = []
    for stream in range(count):
        row = Row(History(prompt), -1, Rule(pipeline, 5, stream), Limits(new_tokens[stream % len(new_tokens)]))
        rows.append(row)
        if stream == 0:
            row.cache_row = loop.cache.open()
            loop.add(row)
        else:
            loop.fork(rows[0], row)
    while loop.rows:
        loop.step()
    return rows


def test_each_sample_is_what_it_would_be_alone():
    """So the joint of several is the product of their own distributions; also where rows end at different times."""
    model = TableModel.random(V, 4)
    for drafter in (Consensus(least=0.0), Consensus(weighted=False)):
        rows = samples_of(model, [A, B, A], 4, drafter, [20, 5, 13])
        for stream, row in enumerate(rows):
            history = History([A, B, A])
            alone = decode_stream(model, history, row.rule, row.limits.new_tokens)
            assert row.new_tokens == alone, stream
    assert rows[0].new_tokens != rows[3].new_tokens
    assert rows[0].new_tokens == plainly(model, [A, B, A], Pipeline([Temperature(1.0)]), 5, 20)


def decode_stream(model, history, rule, new_tokens):
    from stretto.steer.choice import choose
    from stretto.steer.path import Path

    for _ in range(new_tokens):
        logits = torch.tensor([model.rule(tuple(history.tokens))], dtype=torch.float64)
        history.extend(choose(Nodes([Path(history)], logits), [rule]).tokens)
    return history.tokens[history.prompt_length :]


def test_the_more_samples_the_more_is_accepted():
    """Templated texts: any sentence may come next, and each goes on as it always does."""
    chance = random.Random(0)
    sentences = {head: [head, *chance.choices(range(12, 60), k=6)] for head in range(12)}

    def rule(path):
        written = path[1:]
        at = len(written) % 7
        allowed = range(12) if at == 0 else [sentences.get(written[-at], [0] * 7)[at]]
        return [9.0 if token in allowed else -9.0 for token in range(60)]

    model = TableModel(60, rule)

    def tau(count):
        rows = samples_of(model, [59], count, Consensus(), [42])
        return sum(row.counters.new_tokens for row in rows) / sum(row.counters.rounds for row in rows)

    one, two, eight = tau(1), tau(2), tau(8)
    assert eight > 1.2 * two and two > 1.1 * one > 1.1


def test_settings_out_of_range_are_refused_and_trees_are_declared():
    for wrong in ({"longest": 0}, {"shortest": 0}, {"depth": 0}, {"hits": 0}, {"least": 1.5}):
        with pytest.raises(InvalidRequest):
            Consensus(**wrong)
    assert (Consensus().needs, Consensus().siblings) == (Ability.TREE, Siblings.DISTINCT)
    assert Consensus().begin(CONTEXT).want == Want() and Consensus(weighted=False).begin(CONTEXT).want == NOTHING

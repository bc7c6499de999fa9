from __future__ import annotations

import random

import pytest

from laws.worlds import GREEDY, decode, plainly
from speculate.drafters.by_hand import row_of
from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Room
from stretto.speculate.drafters.copy import Copy
from stretto.speculate.planners.fixed import Fixed

A, B, C, D, E, X, Y, END = range(8)
BEGIN = 8
WIDE = Room(99, 99)


def writes(output, vocabulary=9, prompt=1):
    """A model that goes on with this output after a prompt of that many tokens."""

    def rule(path):
        at = len(path) - prompt
        token = output[at] if at < len(output) else END
        return [float(other == token) for other in range(vocabulary)]

    return TableModel(vocabulary, rule)


def session(tokens, output=(), **settings):
    row = row_of(tokens)
    s = Copy(**settings).begin(Context(TableModel.random(9, 0), SimulatedClock(), lambda name: None)).open(row)
    if output:
        row.history.extend(output)
    return row, s


def test_the_hand_case_takes_three_forwards():
    """Source `a b c d e`, output `a x c d e` and its end: 6 tokens."""
    drafter = Copy((A, B, C, D, E, END))
    row = decode(
        writes([A, X, C, D, E, END]),
        [[BEGIN]],
        drafter=drafter,
        planner=Fixed(20),
        new_tokens=20,
        ends=frozenset({END}),
    )[0]
    assert row.new_tokens == [A, X, C, D, E, END] and row.counters.rounds == 3
    assert [step.committed for step in row.steps] == [[A, X], [C], [D, E, END]]
    assert [step.drafted for step in row.steps] == [[A, B, C, D, E, END], [], [D, E, END]]


def test_an_exact_copy_takes_one_forward():
    source = [A, B, C, D, E, A, C, END]
    row = decode(
        writes(source), [[BEGIN]], drafter=Copy(tuple(source)), planner=Fixed(20), new_tokens=20, ends=frozenset({END})
    )[0]
    assert row.new_tokens == source and row.counters.rounds == 1


def test_repeated_tokens_need_a_longer_match():
    _, s = session([A, B, C, A, D], [X, A])
    assert len(s.propose(WIDE)) == 0  # `A` is there twice, `X A` not at all
    _, s = session([A, B, C, A, D], [X, C, A])
    assert s.propose(WIDE).tokens == [D]
    _, s = session([A, B, C, A, B, D], [X, C, A, B])
    assert s.propose(WIDE).tokens == [D]  # only `C A B` is there once
    _, s = session([A, B, C, A, B, D], [X, C, A, B], longest=2)
    assert len(s.propose(WIDE)) == 0


def test_the_pointer_runs_along_what_the_room_cut_short():
    row, s = session([A, B, C, B, D, E])
    assert s.propose(Room(2, 2)).tokens == [A, B]
    row.history.extend([A, B, C])  # both, and the one more that the source has as well
    assert s.propose(WIDE).tokens == [B, D, E]
    row, s = session([A, A, A, A, A, B])
    row.history.extend([A, A, A])  # three of them are there more than once
    assert s.propose(WIDE).tokens == [A, A, B]


def test_the_prompt_is_the_source_and_only_the_answer_is_searched_for():
    row, s = session([A, B, C, D], eager=False)
    assert len(s.propose(WIDE)) == 0
    row.history.extend([B])
    assert s.propose(WIDE).tokens == [C, D]
    row.history.extend([C, D])
    assert len(s.propose(WIDE)) == 0  # at its end
    _, s = session([A, A, B], [X, A])
    assert len(s.propose(WIDE)) == 0
    _, s = session([B, A, C, A, D, B], [A], eager=False)
    assert len(s.propose(WIDE)) == 0  # `B A` is there once, but its `B` is of the prompt


def test_rows_of_a_batch_have_pointers_of_their_own():
    source = (A, B, C, D, E, A, C, END)
    outputs = {BEGIN: [A, B, X, D, E, A, C, END], Y: [B, C, D, E, END, END, END, END]}

    def rule(path):
        return [float(other == outputs[path[0]][min(len(path) - 1, 7)]) for other in range(9)]

    model = TableModel(9, rule)
    together = decode(model, [[BEGIN], [Y]], drafter=Copy(source), planner=Fixed(9), ends=frozenset({END}))
    for row, prompt in zip(together, ([BEGIN], [Y]), strict=True):
        alone = decode(model, [prompt], drafter=Copy(source), planner=Fixed(9), ends=frozenset({END}))[0]
        assert row.new_tokens == alone.new_tokens and row.counters.rounds == alone.counters.rounds < 5


@pytest.mark.parametrize("kind", ["edited", "same", "other", "empty"])
def test_greedy_output_is_the_same_for_random_sources(kind):
    chance = random.Random(kind)
    for _ in range(60):
        output = chance.choices(range(6), k=chance.randrange(1, 15))
        source = {"same": list(output), "other": [Y] * 5, "empty": []}.get(kind) or [
            chance.choice([token, token, token, X]) for token in output if chance.random() < 0.9
        ]
        prompt = [BEGIN] if kind == "empty" else source or [BEGIN]
        model = writes(output, prompt=len(prompt))
        row = decode(model, [prompt], drafter=Copy(), planner=Fixed(20), new_tokens=len(output))[0]
        assert row.new_tokens == output == plainly(model, prompt, GREEDY, 0, len(output))


def test_rounds_grow_with_the_edits_not_with_the_length():
    """About one round, and two for each edit, for texts without repeats."""
    chance = random.Random(0)
    for edits in (0, 1, 3):
        source = list(range(10, 70))
        output = list(source)
        for at in chance.sample(range(5, 55, 5), edits):
            output[at] = at % 8
        model = writes(output, 70, prompt=1)
        row = decode(model, [[9]], drafter=Copy(tuple(source)), planner=Fixed(64), new_tokens=60)[0]
        assert row.new_tokens == output and row.counters.rounds <= 1 + 2 * edits


def test_what_cannot_be_copied_is_refused():
    with pytest.raises(InvalidRequest):
        Copy(longest=0)
    with pytest.raises(InvalidRequest):
        Copy(("a",))
    with pytest.raises(Unsupported, match="holds token 9"):
        session([A], source=(A, 9))


def test_a_copy_of_a_row_goes_its_own_way():
    row, s = session([A, B, C, D, E])
    s.propose(WIDE)
    row.history.extend([A, B])
    s.propose(WIDE)
    twin = row_of(row.history.tokens)
    copy = s.fork(twin)
    row.history.extend([C])
    twin.history.extend([X])
    assert s.propose(WIDE).tokens == [D, E] and len(copy.propose(WIDE)) == 0

from __future__ import annotations

import random

import pytest

from laws.worlds import GREEDY, decode, plainly
from speculate.drafters.by_hand import play, row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.datastore import Document, build
from stretto.speculate.drafters.codeswift import CodeSwift, Memory
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import Siblings, Tree

A, B, C, D, E, BLANK = range(6)
V = 6
WIDE = Room(99, 99)


def store_of(path, *documents, vocabulary=V, blanks=()):
    build([Document(str(at), text) for at, text in enumerate(documents)], path, vocabulary=vocabulary, blanks=blanks)
    return str(path)


def context(vocabulary=V):
    return Context(TableModel.random(vocabulary, 0), SimulatedClock(), lambda name: None)


def paths(tree):
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def sources(tree):
    return {tuple(tree.path_tokens(node)): tree.sources[node] for node in range(len(tree))}


def test_both_stores_are_searched_and_their_weights_summed(tmp_path):
    general = store_of(tmp_path / "general", [A, B, C], [A, B, D], [A, B, D], [A, B, D])
    mine = store_of(tmp_path / "mine", [A, B, E], [A, B, C])
    drafter = CodeSwift(general, mine, weight=2.0, depth=1)
    tree = drafter.begin(context()).open(row_of([E, A, B])).propose(WIDE)
    assert tree.tokens == [C, D, E]  # 1 + 2, 3, 2; of equal weights the lower token
    assert tree.scores == pytest.approx([3 / 9, 3 / 9, 2 / 9])  # of 8, and the doubt of a match of two
    assert sources(tree) == {(C,): "codeswift, repository", (D,): "codeswift", (E,): "codeswift, repository"}


@pytest.mark.parametrize("seed", range(4))
def test_the_union_does_not_depend_on_the_order_of_the_stores(seed, tmp_path):
    chance = random.Random(seed)
    one, two = (
        store_of(tmp_path / name, *(chance.choices(range(3), k=40) for _ in range(3))) for name in ("one", "two")
    )
    tokens = chance.choices(range(3), k=6)
    here = context()
    settings = {"weight": 1.0, "nodes": 9, "depth": 3, "capacity": 0}
    both = CodeSwift(one, two, **settings).begin(here).search(tokens, WIDE)
    turned = CodeSwift(two, one, **settings).begin(here).search(tokens, WIDE)
    assert (both.tokens, both.parents, both.scores) == (turned.tokens, turned.parents, turned.scores)
    both.check()
    alone = CodeSwift(one, "", **settings, longest=4).begin(here).search(tokens, WIDE)
    twice = CodeSwift(one, one, **settings, longest=4).begin(here).search(tokens, WIDE)
    assert paths(alone) == paths(twice)


def test_after_white_space_nothing_is_searched_until_it_is_tried_again(tmp_path):
    path = store_of(tmp_path / "s", [BLANK, A, BLANK, A, BLANK, A, C, D], blanks=[BLANK])
    drafting = CodeSwift(path, shortest=1, retry=3, capacity=0).begin(context())
    row = row_of([C, BLANK])
    session = drafting.open(row)
    for _ in range(3):
        assert len(session.propose(WIDE)) == 0
        row.history.extend([A, BLANK])
        session.advance(Outcome(Tree(), [], [A, BLANK]))
    assert (drafting.rounds, drafting.searches) == (3, 0)
    assert session.propose(WIDE).tokens[0] == A  # the trial, which hits: 1 of 1, and four of a tenth
    row.history.extend([A, BLANK])
    session.advance(Outcome(Tree(), [], [A, BLANK]))
    assert drafting.worth(BLANK, session.memory) and drafting.searches == 1
    assert drafting.worth(C, session.memory)  # the prior of other tokens


def test_a_token_after_which_searches_miss_is_skipped(tmp_path):
    path = store_of(tmp_path / "s", [A, B, A, B, A, B])
    drafting = CodeSwift(path, shortest=1, threshold=0.3, retry=0, capacity=0).begin(context())
    row = row_of([A])
    session = drafting.open(row)
    tried = 0
    while drafting.worth(A, session.memory) and tried < 9:
        assert session.propose(WIDE).tokens[0] == B
        row.history.extend([C, A])
        session.advance(Outcome(Tree(), [], [C, A]))
        tried += 1
    assert tried == 3  # 0 of 3 and two of four: 2/7 < 0.3
    anything = CodeSwift(path, threshold=0.0).begin(context())
    assert anything.worth(BLANK, anything.open(row).memory)


def test_the_cache_comes_first_and_holds_what_was_committed(tmp_path):
    path = store_of(tmp_path / "s", [C, D, E])
    here = context()
    drafting = CodeSwift(path, cached=2, depth=2, kept=2).begin(here)
    row = row_of([A, B, C, D, A, B])
    session = drafting.open(row)
    tree = session.propose(WIDE)
    assert paths(tree) == {(C,), (C, D)} and set(tree.sources) == {"codeswift, cache"} and drafting.searches == 0
    row.history.extend([E, E, A, B])
    session.advance(Outcome(Tree(), [], [E, E, A, B]))
    tree = session.propose(WIDE)
    assert tree.tokens == [E, E, C, D]  # what the model answered stands in front
    session.close()
    later = CodeSwift(path, cached=2, depth=2, kept=2).begin(here).open(row_of([D, E, E]))
    assert later.propose(WIDE).tokens == [A, B]  # from the earlier request


def test_the_cache_returns_only_what_was_committed(tmp_path):
    """Every cached path stands in a text that was committed, after the very tokens it was found by."""
    path = store_of(tmp_path / "s", [A, B, C])
    model = TableModel.random(4, 8, order=3)
    here = Context(model, SimulatedClock(), lambda name: model)
    drafter = CodeSwift(path, cached=2, depth=3, capacity=200)
    texts = []
    for seed in range(4):
        row = row_of(random.Random(seed).choices(range(4), k=6))
        session = drafter.begin(here).open(row)
        texts.append(row.history.tokens)
        for _ in range(12):
            tree = session.propose(Room(8, 8))
            if "codeswift, cache" in tree.sources:
                for node in range(len(tree)):
                    run = [*row.history.tokens[-2:], *tree.path_tokens(node)]
                    assert any(text[at : at + len(run)] == run for text in texts for at in range(len(text)))
            play(model, row, session, Room(8, 8))
        session.close()


def test_the_cache_is_capped_and_keeps_answers_in_front():
    settings = CodeSwift(capacity=3, kept=2)
    memory = Memory(("", ""))
    for at in range(9):
        memory.learn((at,), (at, at), settings, answered=False)
    assert list(memory.windows) == [(6,), (7,), (8,)]
    for window, answered in (((A,), False), ((B,), True), ((C,), False), ((D,), True), ((B,), True)):
        memory.learn((8,), window, settings, answered)
    assert memory.windows[8,] == ((B,), (D,)) and list(memory.windows)[-1] == (8,)


def test_rebuilding_a_store_empties_the_cache(tmp_path):
    path = store_of(tmp_path / "s", [C, D, E])
    here = context()
    first = CodeSwift(path).begin(here).memory
    assert CodeSwift(path).begin(here).memory is first
    store_of(tmp_path / "s", [C, D, E])
    assert CodeSwift(path).begin(here).memory is first  # the same text: nothing has changed
    store_of(tmp_path / "s", [C, D, D])
    assert CodeSwift(path).begin(here).memory is not first


def decode_with(drafter, model, text, prompt, here):
    """Decode and count searches; the loop is given what an engine gives it."""
    drafting = []

    class Watched(CodeSwift):
        def begin(self, context):
            drafting.append(drafter.begin(context))
            return drafting[0]

    loop = Speculate(Watched(drafter.path), Exact(), Fixed(8)).loop(here, model.new_cache(slots=8))
    row = Row(History(text[:prompt]), loop.cache.open(), Rule(GREEDY, 0, 0), Limits(len(text) - prompt))
    loop.add(row)
    while loop.rows:
        loop.step()
    assert row.history.tokens == text
    return row.counters.tokens_per_round, drafting[0].searches / drafting[0].rounds


def test_the_repository_adds_to_general_code_and_the_rule_saves_searches(tmp_path):
    """Statements of general code and of a repository; before each a name between indents, which nobody can guess."""
    chance, size, blanks = random.Random(0), 60, range(50, 60)
    common, local = ([chance.choices(range(50), k=7) for _ in range(40)] for _ in range(2))

    def code(statements, count):
        return [
            token
            for statement in chance.choices(statements, k=count)
            for token in (chance.choice(blanks), chance.randrange(50), chance.choice(blanks), *statement)
        ]

    general = store_of(tmp_path / "general", code(common, 200), vocabulary=size, blanks=blanks)
    mine = store_of(tmp_path / "mine", code(local, 200), vocabulary=size, blanks=blanks)
    text = code(common + local, 40)
    model = TableModel(size, lambda path: [float(token == text[len(path)]) for token in range(size)])

    def run(*stores, **settings):
        here = Context(model, SimulatedClock(), lambda name: model)
        return decode_with(CodeSwift(*stores, capacity=0, **settings), model, text, 40, here)

    (both, searched), (only, _), (always, all_searched) = (
        run(general, mine),
        run(general),
        run(general, mine, threshold=0.0),
    )
    assert both > 1.1 * only > 1.1
    assert searched < 0.7 and all_searched == 1.0  # of the rounds
    assert 0.95 * always < both <= always


def test_tokens_stay_what_they_are(tmp_path):
    path = store_of(tmp_path / "s", [A, B, C, D] * 5)
    model = TableModel.random(V, 5)
    prompts = [[A, B, C], [D, D, E, A]]
    rows = decode(model, prompts, drafter=CodeSwift(path, cached=2), planner=Fixed(8), new_tokens=25)
    assert [row.new_tokens for row in rows] == [plainly(model, prompt, GREEDY, 0, 25) for prompt in prompts]


def test_settings_out_of_range_are_refused_and_trees_are_declared(tmp_path):
    for wrong in (
        {"path": ""},
        {"longest": 1},
        {"weight": 0},
        {"threshold": 2},
        {"prior": -1},
        {"retry": -1},
        {"cached": 0},
        {"kept": 0},
        {"capacity": -1},
    ):
        with pytest.raises(InvalidRequest):
            CodeSwift(**wrong)
    assert (CodeSwift().needs, CodeSwift().siblings) == (Ability.TREE, Siblings.DISTINCT)
    with pytest.raises(InvalidRequest, match="no datastore in"):
        CodeSwift(store_of(tmp_path / "s", [A]), str(tmp_path / "nil")).begin(context())

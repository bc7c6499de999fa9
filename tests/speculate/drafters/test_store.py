from __future__ import annotations

import random

import pytest

from laws.worlds import decode
from speculate.drafters.by_hand import row_of
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.speculate.contract import Room
from stretto.speculate.datastore import Document, build
from stretto.speculate.drafters.codeswift import CodeSwift
from stretto.speculate.drafters.store import Store
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import Siblings

A, B, C, D, E = range(5)
WIDE = Room(99, 99)


def store_of(path, documents, vocabulary=5):
    build([Document(str(at), text) for at, text in enumerate(documents)], path, vocabulary=vocabulary)
    return str(path)


def propose(path, tokens, room=WIDE, vocabulary=5, **settings):
    here = Context(TableModel.random(vocabulary, 0), SimulatedClock(), lambda name: None)
    return Store(path, **settings).begin(here).open(row_of(tokens)).propose(room)


def paths(tree):
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def test_the_commonest_continuations_of_the_longest_match(tmp_path):
    path = store_of(tmp_path / "s", [[A, B, C, D], [A, B, C, E], [A, B, D, E], [E, B, E]])
    tree = propose(path, [D, A, B], depth=2)
    assert paths(tree) == {(C,), (C, D), (C, E), (D,), (D, E)}
    assert tree.tokens[:2] == [C, D] and tree.ranks[:2] == [0, 1]  # counts 2 and 1
    assert tree.scores[:2] == pytest.approx([2 / 4, 1 / 4])  # of 3 and the doubt of a match of two
    assert paths(propose(path, [E, B], depth=2)) == {(E,)}
    assert propose(path, [D, A, B], Room(2, 9)).tokens == [C, D]
    assert paths(propose(path, [D, A, B], Room(9, 1))) == {(C,), (D,)}
    assert propose(path, [D, A, B], nodes=1).tokens == [C]


def test_no_hit_gives_no_node(tmp_path):
    path = store_of(tmp_path / "s", [[A, B, C]])
    for tokens in ([C, A], [D, E], [A], [B, C]):  # unknown, unknown, too short, at the end of its document
        assert len(propose(path, tokens)) == 0
    assert propose(path, [E, A], shortest=1).tokens == [B, C]


@pytest.mark.parametrize("seed", range(5))
def test_pruning_keeps_the_heaviest_and_their_parents(seed, tmp_path):
    chance = random.Random(seed)
    documents = [chance.choices(range(3), k=60) for _ in range(4)]
    path = store_of(tmp_path / "s", documents, 3)
    whole = propose(path, [A, B], nodes=10_000, depth=4, hits=9999, vocabulary=3)
    size = chance.randrange(3, 12)
    few = propose(path, [A, B], nodes=size, depth=4, hits=9999, vocabulary=3)
    few.check()
    assert len(few) == min(size, len(whole)) and paths(few) <= paths(whole)
    assert all(p[:-1] in paths(few) | {()} for p in paths(few))

    def weight(p):
        return sum(d[at : at + 2 + len(p)] == [A, B, *p] for d in documents for at in range(len(d) - 1 - len(p)))

    kept = sorted(map(weight, paths(few)), reverse=True)
    assert kept == sorted(map(weight, paths(whole)), reverse=True)[: len(few)]
    assert few == propose(path, [A, B], nodes=size, depth=4, hits=9999, vocabulary=3)  # the same again


def test_text_like_the_store_is_accepted_and_other_text_is_not(tmp_path):
    chance = random.Random(0)
    sentences = [chance.choices(range(50), k=8) for _ in range(30)]
    known = [token for sentence in chance.choices(sentences, k=60) for token in sentence]
    path = store_of(tmp_path / "s", [[token for s in chance.choices(sentences, k=40) for token in s]], 50)

    def tau(text):
        model = TableModel(50, lambda p: [float(token == text[len(p)]) for token in range(50)])
        return decode(model, [text[:20]], drafter=Store(path), planner=Fixed(16), new_tokens=200)[0].counters

    inside, outside = tau(known).tokens_per_round, tau(chance.choices(range(50), k=300)).tokens_per_round
    assert inside > 3 and 1 <= outside < 1.1


def test_what_does_not_fit_is_refused(tmp_path):
    for wrong in ({"longest": 1}, {"shortest": 0}, {"depth": 0}, {"longest": 60}, {"hits": 0}, {"nodes": 0}):
        with pytest.raises(InvalidRequest):
            Store(**wrong)
    for wrong in (lambda: Store(5), lambda: CodeSwift(repository=Store())):
        with pytest.raises(InvalidRequest, match="a value of the wrong kind"):
            wrong()
    for text, path in (("store(store)", "store"), ("store(5)", "5")):  # a folder may have any name
        assert method.parse(text).draft == Store(path)
    with pytest.raises(InvalidRequest, match="there is no datastore"):
        propose(str(tmp_path / "nil"), [A])
    path = store_of(tmp_path / "s", [[A, E]])
    with pytest.raises(Unsupported, match="holds token 4"):
        propose(path, [A], vocabulary=4)
    assert (Store().needs, Store().siblings) == (Ability.TREE, Siblings.DISTINCT)

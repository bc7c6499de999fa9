from __future__ import annotations

from dataclasses import replace

import pytest

from laws.worlds import decode
from speculate.drafters.by_hand import cyclic, play, row_of
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Row
from stretto.speculate.contract import DraftSession, Room
from stretto.speculate.drafters.fuse import Auto
from stretto.speculate.drafters.pool import LEAST, Pool
from stretto.speculate.evidence import ALWAYS, RATE, SIGNS, USUAL, Weights, signs
from stretto.speculate.family import FAMILY
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT

WIDE = Room(64, 16)
A, B, C, D, E = range(5)


def context(vocabulary: int = 5, **settings) -> Context:
    return Context(TableModel.random(vocabulary, 0), SimulatedClock(), lambda name: None, **settings)


def session(tokens, here: Context | None = None, **settings) -> tuple[Row, DraftSession]:
    row = row_of(tokens)
    return row, Pool(**settings).begin(here or context()).open(row)


def test_it_goes_on_as_the_text_did_and_is_surer_the_longer_the_context():
    _, s = session([A, B, C, D, E, A, B, C])
    tree = s.propose(WIDE)
    assert tree.tokens[:2] == [D, E] and tree.parents[:2] == [ROOT, 0]
    _, shorter = session([A, E, C, D, E, A, B, C])
    assert shorter.propose(WIDE).scores[0] < tree.scores[0]
    assert len(s.propose(Room(1, 16))) == 1 and max(s.propose(Room(64, 2)).depths) == 2
    _, fresh = session([A, B, C, D])
    assert len(fresh.propose(WIDE)) == 0


def test_no_path_is_drafted_that_is_less_likely_than_one_that_is_not():
    model = TableModel.random(5, seed=4, order=2, sharpness=2.0)
    row, s = session([A, B])
    row.rule = row_of([A], Pipeline([Temperature(1.0)])).rule
    for _ in range(12):
        all_nodes = s.propose(WIDE)
        reach: list[float] = []
        for parent, score in zip(all_nodes.parents, all_nodes.scores, strict=True):
            reach.append(score * (1.0 if parent == ROOT else reach[parent]))
        assert reach == sorted(reach, reverse=True) and min(reach, default=1.0) >= LEAST
        assert s.propose(Room(5, 16)).tokens == all_nodes.tokens[:5]
        for node in range(ROOT, len(all_nodes)):
            assert sum(all_nodes.scores[child] for child in all_nodes.children(node)) <= 1 + 1e-9
        play(model, row, s, Room(5, 16))


@pytest.mark.parametrize("shared", [True, False])
def test_earlier_answers_are_drafted_from_unless_that_is_switched_off(shared):
    here = context()
    settings = {"earlier": 1000 if shared else 0}
    for _ in range(9):
        row, s = session([A, A, E, A, B], here, **settings)
        row.history.extend([C, D, E, C])
        s.close()
    assert session([E, A, B], here, **settings)[1].propose(Room(3, 3)).tokens == ([C, D, E] if shared else [])
    assert len(session([D, E, A], here, **settings)[1].propose(WIDE)) == 0  # prompts are not looked in
    here = replace(here, steady=True)
    assert len(session([E, A, B], here, **settings)[1].propose(WIDE)) == 0


def test_weights_learn_how_likely_a_guess_is():
    weights, seen = Weights(), [ALWAYS, 3]
    for _ in range(int(20 / RATE)):
        for right in (True, False, False, False):
            weights.learn(seen, weights.chance(seen), right)
    assert weights.chance(seen) == pytest.approx(0.25, abs=0.02)
    assert Weights().weights == list(USUAL) and len(USUAL) == SIGNS == max(ALWAYS, 0) + 1


def test_signs_are_those_of_the_longest_context_that_a_token_followed():
    counts = [(4, ((D, 3), (E, 1))), (1, ((E, 1),))]
    found = signs(counts, [])
    assert found.keys() == {D, E} and found[E][1] >= found[D][1] + 1
    assert len(signs(counts, counts)[D]) == 4 and signs([], counts)[E][1] > signs([], counts)[D][1]


def test_a_fork_learns_by_itself():
    row, s = session([A, B, C, A], earlier=0)
    s.propose(WIDE)
    twin = row.fork(row.rule)
    copy = s.fork(twin)
    row.history.extend([D, B, A])
    twin.history.extend([B, C, A])
    assert s.propose(WIDE).tokens != copy.propose(WIDE).tokens
    assert copy.propose(Room(2, 2)).tokens == [B, C]


def test_a_cycle_is_drafted_whole_once_it_is_known():
    row = decode(cyclic(9, 12), [[0]], drafter=Pool(), planner=Fixed(8), new_tokens=80)[0]
    assert row.counters.rounds < 9 + 80 / 7


def test_the_default_method_says_how_many_earlier_answers_it_keeps():
    model = TableModel.random(5, 0)
    model.channels, model.layers = 1000, 4
    method = FAMILY.assemble("auto", {"drafter": Auto(earlier=7)}, ())
    assert FAMILY.complete(method, model).draft.parts == (Pool(earlier=7),)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InvalidRequest):
        Pool(earlier=-1)

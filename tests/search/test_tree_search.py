"""Tree searches: their rules by hand, what they find on tables where greedy ways fail, and what that costs."""

from __future__ import annotations

import itertools
import math
from functools import cache

import pytest
import torch

from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.contract import Branch
from stretto.search.pg_td import PgTd
from stretto.search.ppo_mcts import PpoMcts
from stretto.search.scorers.by_function import ByFunction
from stretto.search.segmenters import Every
from stretto.search.simulating import Simulating
from stretto.search.transfer_q import TransferQ
from stretto.search.tree import Edge, Node
from stretto.search.vm_mcts import VmMcts

MODEL = TableModel.random(4, seed=5, order=2, sharpness=0.7)
SETTINGS = {"max_new_tokens": 4, "end_tokens": ()}
CHANCE = {"temperature": 1.0, "seed": 3}


def engine(model: TableModel = MODEL) -> Engine:
    return Engine(model, clock=SimulatedClock())


def node(visits: int, ways: list[tuple[float, float, int]], best: bool = False) -> Node:
    """A node with ways of these values, priors and visits."""
    found = Node(Branch(), visits=visits, edges=[])
    for value, prior, gone in ways:
        child = Node(Branch(), found, prior, visits=gone, total=value * gone, best=value)
        assert found.edges is not None
        found.edges.append(Edge(prior, child=child if gone else None))
    return found


def worths(search: PpoMcts | PgTd | VmMcts, at: Node) -> list[float]:
    return [search.worth(at, edge) for edge in at.edges or ()]


def test_the_rules_by_hand() -> None:
    met = node(10, [(0.5, 0.6, 5), (0.7, 0.3, 3), (0.3, 0.1, 1)])
    assert worths(PpoMcts(c=8.0), met) == pytest.approx([3.0298, 2.5974, 1.5649], abs=1e-4)
    planned = node(9, [(0.5, 0.6, 4), (0.2, 0.3, 2), (0.0, 0.1, 0)])
    assert worths(PgTd(c=4.0, base=10.0), planned) == pytest.approx([1.3348, 0.8957, 0.6957], abs=1e-4)
    lines = node(10, [(0.5, 1.0, 5), (0.4, 1.0, 1), (0.0, 1.0, 0)])
    assert worths(VmMcts(c=0.2), lines) == pytest.approx([0.6609, 0.7465, 1.1494], abs=1e-4)


def test_a_value_comes_back_to_all_places_above() -> None:
    root = Node(Branch(), visits=1, value=0.2, total=0.2)
    child = Node(Branch(), root)
    child.learn(0.8)
    Node(Branch(), child).learn(0.5)
    assert (root.visits, root.mean, root.best) == (3, pytest.approx(0.5), 0.8)
    assert (child.visits, child.mean) == (2, pytest.approx(0.65))


def trap() -> Engine:
    """After a 2, which is rare, come 2s; after all else never. Whoever begins with the likeliest never sees a 2."""
    odds = {2: (0.05, 0.05, 0.9)}
    return engine(TableModel(3, lambda path: [math.log(each) for each in odds.get(path[-1], (0.6, 0.3, 0.1))]))


TWOS = ByFunction(lambda text: text.split().count("2") / 4)


def test_a_plan_finds_what_is_behind_an_unlikely_token() -> None:
    served = trap()
    assert served.generate([0], "beam(1)", **SETTINGS).tokens == [0, 0, 0, 0]
    found = served.generate([0], PgTd(3, 12, scorer=TWOS), **SETTINGS)  # as many as there are tokens at all depths
    assert found.tokens == [2, 2, 2, 2] and 3 <= found.counters.scorer_calls <= 12
    several = served.generate([[0]], PgTd(3, 12, scorer=TWOS), samples=3, **SETTINGS)
    twos = [answer.tokens.count(2) for answer in several]
    assert twos == sorted(twos, reverse=True) and len({tuple(answer.tokens) for answer in several}) == 3


def test_it_ends_where_an_answer_is_good_enough() -> None:
    enough, all_of_them = (PgTd(3, 40, scorer=TWOS, enough=most) for most in (1.0, 2.0))
    found, other = (trap().generate([0], search, **SETTINGS) for search in (enough, all_of_them))
    assert found.tokens == other.tokens == [2, 2, 2, 2]
    assert found.counters.scorer_calls < other.counters.scorer_calls


def test_answers_that_were_grown_through_a_place_are_not_grown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    search = PgTd(3, 20, scorer=TWOS)
    kept = engine().generate([0, 1], search, **SETTINGS)
    monkeypatch.setattr(Simulating, "_unrolled", lambda self, plan, child: None)
    anew = engine().generate([0, 1], search, **SETTINGS)
    assert kept.tokens == anew.tokens and kept.counters.scorer_calls == anew.counters.scorer_calls
    assert kept.counters.row_forwards < 0.9 * anew.counters.row_forwards


@cache
def expected(tokens: tuple[int, ...]) -> float:
    """The reward of an answer that begins so, on average over what the model says: an exact value."""
    if len(tokens) == 4:
        return reward(tokens)
    odds = torch.tensor(MODEL.rule((0, *tokens))).softmax(-1).tolist()
    return sum(p * expected((*tokens, token)) for token, p in enumerate(odds))


def reward(tokens: tuple[int, ...]) -> float:
    """Any function of the answer."""
    return ((tokens[0] * 7 + tokens[1] * 5 + tokens[2] * 3 + tokens[3] * 11 + 3) % 13) / 13


EXACT = ByFunction(lambda text: expected(tuple(map(int, text.split()))))


def test_with_exact_values_it_finds_the_best_reward() -> None:
    best = max(map(reward, itertools.product(range(4), repeat=4)))
    found = engine().generate([0], PpoMcts(4, 400, c=1.0, scorer=EXACT), **SETTINGS)
    plain = engine().generate([0], "plain", **SETTINGS)
    assert reward(tuple(found.tokens)) == best > reward(tuple(plain.tokens))


def test_a_few_simulations_are_better_than_greedy_decoding() -> None:
    rewards = [
        reward(tuple(engine().generate([0], PpoMcts(4, count, c=1.0, scorer=EXACT), **SETTINGS).tokens))
        for count in (1, 4, 16, 64)
    ]
    assert rewards[0] == rewards[1] < rewards[2] <= rewards[3], (
        "four tokens are seen once each before one is seen twice"
    )


def test_drawn_segments_find_the_best_answer_that_was_drawn() -> None:
    told = {}

    def note(text: str) -> float:
        assert text not in told, "asked twice"
        told[text] = reward(tuple(map(int, text.split())))
        return told[text]

    search = VmMcts(4, 2, 6, scorer=ByFunction(note), segmenter=Every(2))
    found = engine().generate([0], search, **SETTINGS, **CHANCE)
    assert reward(tuple(found.tokens)) == max(told.values()) and found.counters.scorer_calls == len(told)
    drawn = engine().generate([[0]], "plain", samples=4, **SETTINGS, **CHANCE)
    assert {" ".join(map(str, each.tokens)) for each in drawn} <= set(told), "the first four are plain samples"


def test_one_simulation_is_the_best_of_its_answers() -> None:
    scorer = ByFunction(lambda text: reward(tuple(map(int, text.split()))))
    tree = engine().generate([0], VmMcts(5, 3, 1, scorer=scorer, segmenter=Every(2)), **SETTINGS, **CHANCE)
    drawn = engine().generate([[0]], "plain", samples=5, **SETTINGS, **CHANCE)
    assert tree.tokens == max((each.tokens for each in drawn), key=lambda tokens: reward(tuple(tokens)))


def test_transferred_values_by_hand() -> None:
    search, root = TransferQ(weight=1.5), node(1, [])
    odds = torch.tensor([3.0, 2.5, 1.0]).softmax(-1).tolist()
    edges = [Edge(p, child=Node(Branch(), root, value=q, visits=1)) for p, q in zip(odds, (0.1, 0.9, 1.2), strict=True)]
    said = [search.final(edge) for edge in edges]
    assert [each - said[0] for each in said] == pytest.approx([0.0, 0.7, -0.35])  # 3.15, 3.85, 2.8


def test_answers_that_are_followed_to_their_end_rank_tokens_as_the_policy_values_them() -> None:
    """Its own greedy answers through each token, and the best of these at each step."""
    text: list[int] = []
    for _ in range(4):
        worth = {}
        for token in range(4):
            rest = 4 - len(text) - 1
            more = engine().generate([0, *text, token], max_new_tokens=rest, end_tokens=()).tokens if rest else []
            worth[token] = reward((*text, token, *more))
        text.append(max(worth, key=lambda token: (worth[token], -token)))
    scorer = ByFunction(lambda said: reward(tuple(map(int, said.split()))))
    found = engine().generate([0], TransferQ(4, 1e4, 0, scorer=scorer), **SETTINGS)
    assert found.tokens == text and reward(tuple(text)) > reward(tuple(engine().generate([0], **SETTINGS).tokens))


@pytest.mark.parametrize("search", [PpoMcts, PgTd, VmMcts, TransferQ])
def test_what_cannot_be_is_refused(search: type[PpoMcts | PgTd | VmMcts | TransferQ]) -> None:
    with pytest.raises(InvalidRequest, match="at least 1"):
        search(width=0)
    wrong = {"temperature": 0.0} if search is VmMcts else {"temperature": 1.0}
    with pytest.raises(Unsupported, match="chance"):
        engine().generate([0], search(), **SETTINGS, **wrong)

"""A*-decoding: against a slow reference, a tree by hand, and the best of all answers where the scorer knows it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.noise import gumbel, key
from stretto.search.astar import AStar
from stretto.search.scorers.by_function import ByFunction
from stretto.search.segmenters import Every
from stretto.search.within import Within

MODEL = TableModel.random(6, seed=4, order=3)
PROMPT = [0, 1]
END = 4
SETTINGS: dict[str, Any] = {"max_new_tokens": 9, "end_tokens": (END,), "temperature": 1.0}


def reward(text: str) -> float:
    words = text.split()
    return (words.count("3") + 0.5 * words.count("5")) / (1 + len(words))


def answered(search: AStar, model: TableModel = MODEL, **settings: Any) -> Any:
    return Engine(model, clock=SimulatedClock()).generate([PROMPT], search, **{**SETTINGS, **settings})


def slowly(search: AStar, size: int, seed: int, wanted: int) -> tuple[list[list[int]], int, set[str]]:
    """Whole texts, no rows: the answers, the tokens drawn, the texts judged."""
    count, drawn, continued = 1, 0, 0

    def worth(tokens: tuple[int, ...]) -> float:
        judged.add(" ".join(map(str, tokens)))
        return reward(" ".join(map(str, tokens)))

    def over(tokens: tuple[int, ...]) -> bool:
        return len(tokens) == SETTINGS["max_new_tokens"] or tokens[-1:] == (END,)

    def go(tokens: tuple[int, ...], stream: int, most: int) -> tuple[int, ...]:
        nonlocal drawn
        begun = len(tokens)
        while not over(tokens) and len(tokens) < begun + most:
            coin = torch.tensor(key(seed, stream, len(PROMPT) + len(tokens)))
            scores = torch.tensor(MODEL.rule((*PROMPT, *tokens)), dtype=torch.float32)
            tokens = (*tokens, int((scores + gumbel(coin, torch.arange(6))).argmax()))
            drawn += 1
        return tokens

    judged: set[str] = set()
    found: list[list[int]] = []
    frontier = [(1 - worth(()), 0, 0, (), 0, 0.0)]  # cost, minus steps, number, tokens, stream, lost
    while frontier and len(found) < wanted:
        spent = continued == search.most
        able = [each for each in frontier if over(each[3])] if spent else []
        first = min(able or frontier)
        frontier.remove(first)
        _, steps, number, tokens, stream, lost = first
        if over(tokens):
            found.append(list(tokens))
        elif spent:
            whole = go(tokens, stream, 99)
            worth(whole)
            frontier.append((-9.0, steps, number, whole, stream, lost))
        else:
            continued += 1
            ways: dict[tuple[int, ...], Any] = {}
            for way in range(search.width):
                source = count if way else stream
                text = go(tokens, source, size)
                loss = lost + max(0.0, worth(tokens) - worth(text))
                ways.setdefault(text, (loss + 1 - worth(text), steps - 1, count, text, source, loss))
                count += 1
            frontier += ways.values()
    return found, drawn, judged


@pytest.mark.parametrize(("width", "most", "size"), [(3, 20, 2), (2, 3, 3), (4, 1, 4)])
@pytest.mark.parametrize("wanted", [1, 3])
def test_against_a_slow_reference(width: int, most: int, size: int, wanted: int) -> None:
    search = AStar(width, most, ByFunction(reward), Every(size))
    for seed in range(6):
        found = answered(search, seed=seed, samples=wanted)
        answers, drawn, judged = slowly(search, size, seed, wanted)
        assert [each.tokens for each in found][: len(answers)] == answers
        counters = found[0].counters
        assert (counters.token_forwards, counters.scorer_calls) == (drawn, len(judged))


def planted(known: dict[str, float], asked: list[str]) -> Callable[[str], float]:
    """Says what it was told to say, and keeps what it is asked."""

    def reward(text: str) -> float:
        asked.append(text)
        return known[text]

    return reward


def by_hand(most_rounds: int, **settings: Any) -> tuple[Any, list[str]]:
    """An answer from a small tree, by the first seed that draws both ways wherever there are two; what was judged."""
    known = {"": 0.5, "1": 0.9, "2": 0.6, "1 3": 0.3, "1 4": 0.7, "2 4": 0.95}
    after = {0: (1, 2), 1: (3, 4), 2: (4, 4)}
    tree = TableModel(6, lambda path: [0.0 if token in after.get(path[-1], ()) else -99.0 for token in range(6)])
    for seed in range(30):
        asked: list[str] = []
        search = AStar(2, 9, ByFunction(planted(known, asked)), Every(1), Within(rounds=most_rounds))
        engine = Engine(tree, clock=SimulatedClock())
        found = engine.generate([0], search, **{**SETTINGS, **settings}, seed=seed)
        if {"1", "2", "1 3", "1 4"} <= {*asked}:
            return found, asked
    raise AssertionError("no seed draws all ways")


def test_a_tree_by_hand() -> None:
    """f(A) = .1, f(B) = .4; then 1.3 and .5 behind A, so that B is next, and what is behind it: the others wait."""
    found, asked = by_hand(0)
    assert [set(asked[:1]), set(asked[1:3]), set(asked[3:5]), set(asked[5:])] == [
        {""},
        {"1", "2"},
        {"1 3", "1 4"},
        {"2 4"},
    ]
    assert found.tokens == [2, 4]


def test_where_the_scorer_knows_what_can_become_of_a_text_the_best_answer_is_found_at_once() -> None:
    """By enumeration of all answers: nothing is continued that does not lead there."""
    small = TableModel.random(3, seed=1, order=2)
    values = torch.rand(81, generator=torch.Generator().manual_seed(3)).tolist()
    known = {
        " ".join(map(str, text)): value
        for text, value in zip(itertools.product(range(3), repeat=4), values, strict=True)
    }

    def perfect(text: str) -> float:
        return max(value for answer, value in known.items() if answer.startswith(text))

    search = AStar(24, 9, ByFunction(perfect), Every(1))
    found = answered(search, small, max_new_tokens=4, end_tokens=())[0]
    assert " ".join(map(str, found.tokens)) == max(known, key=known.__getitem__)
    assert found.counters.token_forwards == 4 * 24


def test_where_no_more_is_to_be_taken_the_best_so_far_is_the_answer() -> None:
    found, _ = by_hand(2, end_tokens=())  # the turn is B's, of the others 1 4 costs least
    assert found.finish == "budget" and found.tokens == [1, 4]
    begun = answered(AStar(2, 9, ByFunction(reward), Every(2), Within(rounds=1)), seed=1, end_tokens=())[0]
    assert begun.finish == "budget" and len(begun.tokens) == 1


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"width": 0}, {"most": 0}):
        with pytest.raises(InvalidRequest):
            AStar(**wrong)
    with pytest.raises(Unsupported, match="without chance"):
        answered(AStar(), temperature=0.0)

"""Layers that are chosen along the text: by the rows of its last token, and by what exits would have said."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import CHANNELS, engine
from stretto.row import Limits, Row
from stretto.speculate.contract import Outcome
from stretto.speculate.inside import closest
from stretto.speculate.inside.best_exit import BestExit, Measuring, best
from stretto.speculate.inside.closest import Closest, nearest
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.tree import Tree


@pytest.mark.parametrize(("layers", "skip", "least"), [(3, 1, 0.8), (6, 2, 0.3), (5, 0, 1.0)])
def test_the_nearest_is_never_nearer_than_the_best_and_often_the_best(layers: int, skip: int, least: float) -> None:
    """Of all sets, on random residual networks."""
    equal, trials = 0, 60
    for seed in range(trials):
        chance = torch.Generator().manual_seed(seed)
        weights = torch.randn(1 + layers, 16, 16, generator=chance) / 4
        rows = [torch.randn(16, generator=chance)]

        def through(layer: int, given: torch.Tensor, weights: torch.Tensor = weights) -> torch.Tensor:
            return given + 0.6 * (given @ weights[layer].T).tanh()

        for layer in range(1, layers + 1):
            rows.append(through(layer, rows[-1]))

        def worth(kept: tuple[int, ...], rows: list[torch.Tensor] = rows, through: Any = through) -> float:
            row = rows[0]
            for layer in kept[1:]:
                row = through(layer, row[None])[0]
            return float(F.cosine_similarity(row, rows[-1], 0))

        found = nearest(rows, skip, through)
        assert found[0] == 0 and len(found) == 1 + layers - skip and found == tuple(sorted(set(found)))
        sets = itertools.combinations(range(1, layers + 1), layers - skip)
        most = max(worth((0, *each)) for each in sets)
        assert worth(found) <= most + 1e-6
        equal += worth(found) >= most - 1e-6
    assert equal >= least * trials


@pytest.mark.parametrize("driven", ["fast", "driven"])
def test_its_rows_pass_through_layers_as_the_target_had_them_pass(driven: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last verified token's own rows come out as the target's, whatever passes beside them."""
    seen = 0

    def compared(rows: Any, skip: int, through: Any) -> tuple[int, ...]:
        nonlocal seen
        for layer in (1, 2):
            passed = through(layer, torch.stack([torch.randn(CHANNELS), rows[layer - 1]]))
            torch.testing.assert_close(passed[1], rows[layer], atol=1e-4, rtol=1e-4)
            seen += 1
        return (0, 1) if seen % 4 else (0, 2)

    monkeypatch.setattr(closest, "nearest", compared)
    request: dict[str, Any] = {"max_new_tokens": 20, "end_tokens": ()}
    found = engine(driven).generate([[5, 9, 11, 5], [7]], "draft(closest(every=2))+fixed(3)", **request)
    plain = engine(driven).generate([[5, 9, 11, 5], [7]], "plain", **request)
    assert [answer.tokens for answer in found] == [answer.tokens for answer in plain]
    assert seen > 10


def test_the_best_exit_and_length() -> None:
    """The figures of a target of eight layers worked out by hand; certain and hopeless exits; of equals the cheaper."""
    rates = {1: 0.4, 2: 0.6, 4: 0.8, 6: 0.9}
    assert best(rates, 8, 6) == (2, 2)
    assert [best({exit_: rate}, 8, 6)[1] for exit_, rate in rates.items()] == [2, 2, 2, 1]
    assert best({3: 1.0}, 8, 6) == (3, 6)
    assert best({1: 0.0, 2: 0.1}, 8, 6) == (1, 0)


def test_exits_are_judged_where_the_text_was_right_and_nowhere_else() -> None:
    """By the root and the accepted nodes: what was said below a rejected one is about another text."""
    model = engine("fast").model
    measuring = Measuring(BestExit(most=4, fade=0.5), model)
    row = Row(History([1, 2]), -1, Rule(Pipeline(), 0, 0), Limits(9))
    chosen = measuring.open(row)
    chance = torch.Generator().manual_seed(0)
    hidden = {layer: torch.randn(4, CHANNELS, generator=chance) for layer in (1, 2)}
    said = {layer: model.read_out(rows).argmax(-1).tolist() for layer, rows in hidden.items()}
    assert all(one != other for one, other in zip(said[1], said[2], strict=True))
    tree = Tree.chain([said[1][0], said[1][1], said[1][2]])
    chosen.learn(row, Outcome(tree, [0], [said[1][0], said[2][1]], hidden=hidden))  # node 1 is rejected
    assert (chosen.hits, chosen.tried) == ([1.0, 1.0], 2.0)
    chosen.learn(row, Outcome(tree, [0], [said[1][0], said[1][1]], hidden=hidden))
    assert (chosen.hits, chosen.tried) == ([2.5, 0.5], 3.0)
    assert (chosen.kept, chosen.depth) == ((0,), best({1: 2.5 / 3, 2: 0.5 / 3}, 3, 4)[1])
    assert chosen.depth > 0 and chosen.fork(row) == chosen and chosen.fork(row) is not chosen


def test_settings_out_of_range_are_refused() -> None:
    for made in (lambda: Closest(0), lambda: Closest(1, every=0), lambda: BestExit(0), lambda: BestExit(2, fade=0.0)):
        with pytest.raises(InvalidRequest):
            made()
    with pytest.raises(Unsupported, match="less than two"):
        Closest(2).of(3)
    assert Closest(2).of(6) == (0, 1, 2, 5)

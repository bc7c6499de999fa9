"""What steers see of nodes: signals once for all of them, and states that forks and drafts leave alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steer.slow import by_likelihood, entropy, softmax
from stretto.steer.contract import Steer
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.taps import Taps

TOKENS = st.lists(st.integers(0, 3), max_size=5)


@dataclass(frozen=True, slots=True)
class Remember(Steer):
    """Its state is all that it was told; each step is written down."""

    name: ClassVar[str] = "remember"
    told: ClassVar[list[tuple[int, ...]]] = []

    def begin(self, prompt):
        return ("|", *prompt, "|")

    def step(self, state, token):
        self.told.append((*state, token))
        return (*state, token)

    def __call__(self, logits, nodes):
        return logits


@pytest.fixture(autouse=True)
def nothing_told():
    Remember.told.clear()


@settings(max_examples=60)
@given(
    prompt=TOKENS, rounds=st.lists(st.tuples(st.lists(TOKENS, max_size=4), TOKENS), max_size=4), forked=st.booleans()
)
def test_a_state_is_what_the_tokens_of_its_path_make_it(prompt, rounds, forked):
    steer, row = Remember(), History(prompt)
    output: list[int] = []
    for drafts, committed in rounds:
        nodes = Nodes([Path(row, tuple(draft)) for draft in drafts], torch.zeros(len(drafts), 4))
        assert nodes.states(steer) == [("|", *prompt, "|", *output, *draft) for draft in drafts]
        if forked:
            row, left = row.fork(), row
            left.extend([3, 3])
            assert Path(left).history.state(steer, ()) == ("|", *prompt, "|", *output, 3, 3)
        row.extend(committed)
        output += committed
        assert Nodes([Path(row)], torch.zeros(1, 4)).states(steer) == [("|", *prompt, "|", *output)]
        if len(row) > len(prompt):
            before = row.before(len(row) - 1)
            assert before.state(steer, (row.tokens[-1],)) == row.state(steer, ())


def test_each_token_is_stepped_once():
    """A node of a tree once, however often it is looked at; not again when it is committed, nor by a fork."""
    steer, row = Remember(), History([1])
    paths = [Path(row, tail) for tail in [(), (0,), (0, 1), (0, 2), (0, 1)]]
    for _ in range(3):
        Nodes(paths, torch.zeros(5, 4)).states(steer)
    assert len(Remember.told) == 3
    row.extend([0, 2, 3])
    twin = row.fork()
    assert row.state(steer, ()) == ("|", 1, "|", 0, 2, 3)
    assert len(Remember.told) == 4  # only 3 is new
    assert twin.state(steer, ()) == row.state(steer, ())


LOGITS = 2 * torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def test_signals_are_those_of_the_raw_logits():
    """Slow reference, number by number."""
    nodes = Nodes([Path(History([0]), (1,) * at) for at in range(5)], LOGITS)
    assert nodes.positions == [1, 2, 3, 4, 5] and nodes.depths == [0, 1, 2, 3, 4] and len(nodes) == 5
    for at, row in enumerate(LOGITS.tolist()):
        p, order = softmax(row), by_likelihood(row)
        assert nodes.log_probabilities[at].tolist() == pytest.approx([math.log(value) for value in p], abs=1e-5)
        assert float(nodes.entropy[at]) == pytest.approx(entropy(p), abs=1e-5)
        assert float(nodes.gap[at]) == pytest.approx(row[order[0]] - row[order[1]], abs=1e-5)
        assert [order[rank] for rank in nodes.ranks[at].tolist()] == list(range(7))
    assert Nodes((), torch.zeros(1, 3)).ranks.tolist() == [[0, 1, 2]]  # the lower id first among equals
    assert Nodes((), torch.zeros(2, 3).half()).entropy.dtype is torch.float32


def test_signals_are_computed_once_for_all_steers(monkeypatch):
    """Also where the pipeline retries single nodes, and where a batch falls into several pipelines."""
    computed = []

    @dataclass(frozen=True, slots=True)
    class Nothing(Steer):
        """Reads a signal and removes everything, so that every node is retried."""

        name: ClassVar[str] = "nothing"
        pointwise: ClassVar[bool] = True

        def __call__(self, logits, nodes):
            assert torch.allclose(nodes.entropy, torch.special.entr(nodes.raw.softmax(-1)).sum(-1))
            return torch.full_like(logits, -torch.inf)

    once = Nodes._once

    def counted(self, what, compute):
        return once(self, what, lambda: computed.append((what, len(self))) or compute())

    nodes = Nodes((), LOGITS)
    monkeypatch.setattr(Nodes, "_once", counted)
    pipeline = Pipeline([Nothing(), Nothing()])
    pipeline(nodes)
    pipeline(nodes[[0, 2]])
    pipeline(nodes[[1, 3]][[1]])
    assert sorted(computed) == [("entropy", 5), ("log_probabilities", 5)]


def test_some_nodes_have_what_the_whole_has_there():
    taps = Taps({2: torch.arange(10.0).view(5, 2)}, {1: LOGITS + 1}, {(0, 1): LOGITS + 2}, {"other": LOGITS + 3})
    nodes = Nodes([Path(History([0]), (1,) * at) for at in range(5)], LOGITS, taps)
    assert nodes[1:].depths == [1, 2, 3, 4] and nodes[1:][::3].depths == [1, 4]
    some = nodes[[4, 1, 3]][[2, 0]]
    assert some.depths == [3, 4] and torch.equal(some.raw, LOGITS[[3, 4]])
    assert torch.equal(some.taps.hidden[2], torch.tensor([[6.0, 7.0], [8.0, 9.0]]))
    assert torch.equal(some.taps.readout[1], LOGITS[[3, 4]] + 1)
    assert torch.equal(some.taps.attention[0, 1], LOGITS[[3, 4]] + 2)
    assert torch.equal(some.taps.companions["other"], LOGITS[[3, 4]] + 3)
    assert torch.equal(some.ranks, nodes.ranks[[3, 4]]) and torch.equal(some.entropy, nodes.entropy[[3, 4]])

"""Drawn combinations of methods, settings and batches: nothing differs that must be equal."""

from __future__ import annotations

import pytest
import torch

from laws.worlds import LastTwo
from models.families import build
from stretto import fuzz
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Verdict
from wide import WIDE


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny target and a draft that often agrees with it, as checkpoints without tokenizers."""
    folder = tmp_path_factory.mktemp("pair")
    target, draft = build("Llama", num_key_value_heads=2), build("Llama", num_key_value_heads=2)
    torch.manual_seed(0)
    for weight in draft.parameters():
        weight.mul_(1 + 0.1 * torch.randn_like(weight))
    target.save_pretrained(folder / "target")
    draft.save_pretrained(folder / "draft")
    return str(folder / "target"), str(folder / "draft")


@pytest.fixture(scope="module")
def tiny(folders):
    return Engine.load(folders[0])


def held(engine, cases, draft=fuzz.DRAFT, seed=0):
    """The tally of these cases, none of which may have a finding."""
    *_, tally = fuzz.run(engine, cases, seed, draft)
    assert not tally.findings, "\n".join(map(str, tally.findings))
    return tally


def test_combinations_on_a_tiny_network(tiny, folders):
    count = 140 if WIDE else 60
    tally = held(tiny, range(count), folders[1])
    assert len(tally.methods) > count / 2
    assert sum(tally.refused.values()) + tally.unsteady < count / 4
    assert tally.ties < tally.tokens / 1000


def test_combinations_on_the_shipped_model():
    tally = held(Engine.load("zoo/causal"), range(20 if WIDE else 10))
    assert tally.tokens > 250


def test_combinations_that_fill_masks():
    """On a table, whose sums are exact, so that nothing can be a tie."""
    model = MaskedTable.random_masked(9, 3, Masking(8))
    tally = held(Engine(model, clock=SimulatedClock()), range(40))
    assert len(tally.methods) > 20


def test_a_case_is_the_same_whatever_was_drawn_before(tiny):
    assert fuzz.draw(tiny, 7) == fuzz.draw(tiny, 7)
    assert fuzz.draw(tiny, 7).prompts != fuzz.draw(tiny, 8).prompts
    assert fuzz.draw(tiny, 7, seed=1) != fuzz.draw(tiny, 7)


def test_a_wrong_acceptor_is_found(monkeypatch):
    """One that takes the first guess for granted."""
    right = Exact.accept

    def credulous(self, target):
        verdicts = right(self, target)
        return [
            Verdict([0], verdict.extra) if len(tree) and not verdict.path else verdict
            for verdict, tree in zip(verdicts, target.trees, strict=True)
        ]

    monkeypatch.setattr(Exact, "accept", credulous)
    engine = Engine(LastTwo(12, seed=1), clock=SimulatedClock())
    *_, tally = fuzz.run(engine, range(60))
    assert any("plain decoding" in finding.what for finding in tally.findings)

"""Layers drawn for ggml compute what the same layers do in floats, whole or part by part, wherever keys lie."""

from __future__ import annotations

from functools import cache as remember
from typing import Any

import pytest
import torch
from torch import Tensor

from models.families import FAMILIES, VOCABULARY
from stretto.models import fast, linear
from stretto.models.cache import Cache
from stretto.models.contract import NOTHING, Evaluation, Want
from stretto.models.drawn.network import Drawn
from stretto.models.fast import lean_or_none
from stretto.models.kernel_choice import Wish
from stretto.models.lean import Lean
from stretto.models.window import Window

CPU = torch.device("cpu")
TOKENS = [(41 * at + at * at // 5 + 7) % VOCABULARY for at in range(128)]
WHOLE: dict[str, Any] = {"intermediate_size": 64, "head_dim": 16}  # all matrices are whole blocks
DRAWN = ("llama", "llama_yarn", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "phi3", "smollm3")


@remember
def drawn(family: str, form: str = "int4") -> Drawn:
    reasons: list[str] = []
    model = lean_or_none(FAMILIES[family](**WHOLE), reasons.append, Wish(form=form))
    assert isinstance(model, Drawn), reasons
    return model


def read(model: Lean, length: int) -> tuple[Cache, int]:
    cache = model.new_cache(2, 128)
    row = cache.open()
    if length:
        model.evaluate(Window.chain([row], [TOKENS[:length]], [0], CPU), cache, NOTHING)
    return cache, row


def then(model: Lean, want: Want = Want(), count: int = 4, **more: Any) -> Evaluation:
    """What some tokens behind thirty others give."""
    cache, row = read(model, 30)
    window = Window.chain([row], [TOKENS[30 : 30 + count]], [30], CPU)
    for name, value in more.items():
        setattr(window, name, value)
    return model.evaluate(window, cache, want)


def logits(found: Evaluation) -> Tensor:
    assert found.logits is not None
    return found.logits


@pytest.mark.parametrize("family", DRAWN)
def test_it_is_the_network_that_it_is_in_floats(family: str) -> None:
    model = drawn(family)
    floats = Lean(fast._in_floats(model.weights, []))
    ours, exact = (logits(then(each, count=40)).log_softmax(-1) for each in (model, floats))
    assert 0 < float((exact.exp() * (exact - ours)).sum(-1).mean()) < 0.02
    assert float((ours.argmax(-1) == exact.argmax(-1)).float().mean()) > 0.8


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
def test_layers_are_the_same_part_by_part(family: str) -> None:
    """What is wanted between or within them, or lies elsewhere, changes no bit."""
    model = drawn(family)
    plain = logits(then(model))
    hidden = then(model, Want(hidden=tuple(range(model.layers + 1)), readout=(2,)))
    assert torch.equal(logits(hidden), plain) and len(hidden.hidden) == model.layers + 1
    branches = tuple((layer, part) for layer in range(model.layers) for part in ("attention", "mlp"))
    within = then(model, Want(branches=branches, attention=((1, 3),)))
    assert torch.equal(logits(within), plain)
    torch.testing.assert_close(within.attention[1, 3].sum(-1), torch.ones(1, 4))
    added = hidden.hidden[0] + within.branches[0, "attention"] + within.branches[0, "mlp"]
    torch.testing.assert_close(added, hidden.hidden[1])
    given = then(model, given={(1, "mlp"): within.branches[1, "mlp"]})
    torch.testing.assert_close(logits(given), plain, atol=0.2, rtol=0)  # rounded once more, in blocks
    edited = then(model, Want(hidden=(2,)), edits={1: torch.ones(1, 4, model.channels).add})
    assert not torch.equal(edited.hidden[2], hidden.hidden[2])


def test_attention_that_is_asked_for_is_the_one_that_is_read() -> None:
    model = drawn("llama")
    cache, row = read(model, 30)
    window = Window.chain([row], [TOKENS[30:34]], [30], CPU)
    asked = tuple((0, head) for head in range(model.heads))
    found = model.evaluate(window, cache, Want(attention=asked, branches=((0, "attention"),)))
    values = cache.values(row, 0).repeat_interleave(model.heads // model.weights.key_heads, 0)
    mixed = torch.cat([found.attention[each][0] @ values[each[1]] for each in asked], 1)
    product = fast.dense(model.weights.layers[0].out.kernels[0].weight)  # type: ignore[attr-defined]
    exact = mixed @ product.T
    assert float((found.branches[0, "attention"][0] - exact).norm() / exact.norm()) < 0.04


def test_attention_of_unequal_rows_is_that_of_each_alone() -> None:
    model = drawn("llama")
    want = Want(attention=((0, 1), (2, 3)))

    def told(lengths: list[int]) -> Evaluation:
        cache, first = read(model, lengths[0])
        rows = [first]
        for length in lengths[1:]:
            rows.append(cache.open())
            model.evaluate(Window.chain(rows[-1:], [TOKENS[:length]], [0], CPU), cache)
        window = Window.chain(rows, [TOKENS[length : length + 1] for length in lengths], lengths, CPU)
        return model.evaluate(window, cache, want)

    together = told([30, 4, 11])
    for at, length in enumerate([30, 4, 11]):
        alone = told([length])
        for head in want.attention:
            assert torch.equal(together.attention[head][at, :, : length + 1], alone.attention[head][0, :, : length + 1])
            assert not together.attention[head][at, :, length + 1 :].any()


def test_long_windows_are_cut_and_everyone_windows_are_not() -> None:
    model = drawn("llama")
    cache, row = read(model, 0)
    long = logits(model.evaluate(Window.chain([row], [TOKENS], [0], CPU), cache))
    cache, row = read(model, 100)
    assert torch.equal(logits(model.evaluate(Window.chain([row], [TOKENS[100:]], [100], CPU), cache))[0], long[0, 100:])
    found = []
    for size in (20, 128):  # rows see what stands behind them, in one program and in several
        cache, row = read(model, 0)
        window = Window.chain([row], [TOKENS[:size]], [0], CPU)
        window.everyone = True
        ours = logits(model.evaluate(window, cache))
        floats = Lean(fast._in_floats(model.weights, []))
        cache = floats.new_cache(1, 128)
        window.rows = [cache.open()]
        exact = logits(floats.evaluate(window, cache))
        found.append(float((ours - exact).norm() / exact.norm()))
    assert max(found) < 0.1


def test_a_layer_that_is_drawn_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from stretto.models.drawn import layer

    monkeypatch.setattr(layer, "NEIGHBOURS", 2)  # channels that turn together lie elsewhere
    reasons: list[str] = []
    assert lean_or_none(FAMILIES["llama"](**WHOLE), reasons.append, Wish(form="int4")) is None
    assert "in blocks, differs from the same layer in floats" in reasons[0]


def test_several_threads_compute_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And torch has as many afterwards as before."""
    model, before = drawn("gemma2"), torch.get_num_threads()
    monkeypatch.setattr(linear, "LIGHT", 0)
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(logits(then(model, count=70)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert {key[-1] for key in model._programs} >= {1, 2, 3}

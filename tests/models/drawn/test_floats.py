"""Large networks in float32: drawn for narrow windows, torch's for wide ones, over the same memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.families import FAMILIES, VOCABULARY
from stretto.models import kernel_choice
from stretto.models.contract import NOTHING
from stretto.models.drawn.coded import NARROW, Floats
from stretto.models.drawn.ggml import Unavailable, library
from stretto.models.drawn.network import Drawn
from stretto.models.fast import lean_or_none
from stretto.models.kernel_choice import Wish, linears
from stretto.models.lean import Lean
from stretto.models.window import Window
from stretto.tree import Tree

CPU = torch.device("cpu")
TOKENS = [(41 * at + at * at // 5 + 7) % VOCABULARY for at in range(128)]
CLOSE: dict[str, Any] = {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if small matrices were large, on a machine of AVX2."""
    try:
        library()
    except Unavailable as why:
        pytest.skip(str(why))
    monkeypatch.setattr(kernel_choice, "LARGE", 0)
    monkeypatch.setattr(kernel_choice, "TINY", 0)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return monkeypatch


def windows(model: Lean) -> list[torch.Tensor]:
    """Logits of a chain, a tree, unequal rows, a wide window and one behind it, from one cache."""
    cache = model.new_cache(2, 128)
    rows = [cache.open(), cache.open()]
    found = []

    def look(window: Window) -> None:
        logits = model.evaluate(window, cache).logits
        assert logits is not None
        found.append(logits)

    model.evaluate(Window.chain([rows[0]], [TOKENS[:30]], [0], CPU), cache, NOTHING)
    model.evaluate(Window.chain([rows[1]], [TOKENS[:5]], [0], CPU), cache, NOTHING)
    look(Window.chain([rows[0]], [TOKENS[30:34]], [30], CPU))
    tree = Tree.chain(TOKENS[2:4])
    tree.add(TOKENS[5])
    tree.add(TOKENS[6], 0)
    look(Window.forest([rows[0]], [TOKENS[34]], [tree], [34], CPU))
    cache.truncate(rows[0], 34)
    look(Window.chain(rows, [TOKENS[34:37], TOKENS[5:8]], [34, 5], CPU))
    look(Window.chain([rows[0]], [TOKENS[37:70]], [37], CPU))
    look(Window.chain([rows[0]], [TOKENS[70:71]], [70], CPU))
    return found


@pytest.mark.parametrize("family", ["llama", "llama_yarn", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
def test_windows_are_those_of_the_fast_path(family: str, large: pytest.MonkeyPatch) -> None:
    drawn = lean_or_none(FAMILIES[family]())
    assert isinstance(drawn, Drawn) and drawn.wide is not None and not drawn.numbers.bits and not drawn.numbers.blocks
    large.setattr(kernel_choice, "LARGE", 1 << 40)
    lean = lean_or_none(FAMILIES[family]())
    assert type(lean) is Lean
    for ours, theirs in zip(windows(drawn), windows(lean), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("biased", [True, False])
def test_a_matrix_stays_where_it_lies_and_is_multiplied_by_either_kernel(
    biased: bool, large: pytest.MonkeyPatch
) -> None:
    weight, x = torch.randn(48, 33), torch.randn(2 * NARROW, 33)  # of no whole blocks
    bias = torch.randn(48) if biased else None
    (linear,) = linears([(weight, bias)], beside=1)
    (kernel,) = {*linear.kernels}
    assert isinstance(kernel, Floats)
    addresses = {each._data.data_ptr() for each in kernel.parts} | {kernel._wide.matrix.data_ptr()}
    assert addresses == {weight.data_ptr()}
    for rows in (1, NARROW, NARROW + 1, 2 * NARROW):
        product = torch.nn.functional.linear(x[:rows], weight, bias)
        torch.testing.assert_close(linear(x[:rows]), product, **CLOSE)
        torch.testing.assert_close(linear(x[:rows], torch.ones(rows, 48)), product + 1, **CLOSE)


@pytest.mark.parametrize("why", ["bits", "half", "wider", "small"])
def test_others_keep_their_kernels(why: str, large: pytest.MonkeyPatch) -> None:
    weight = torch.randn(48, 64)
    if why == "half":
        weight = weight.half().float()
    if why == "wider":
        large.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    (linear,) = linears([(weight, None)], 0 if why == "small" else 1, Wish(bits=why == "bits"))
    assert not any(isinstance(kernel, Floats) for kernel in linear.kernels)

"""PrefillState: what it costs, and that it is everything computed anew with a prompt that does not see its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from diffuse.canvases import answer
from models.masked_checkpoints import save
from stretto import method
from stretto.diffuse.refresh.contract import Plan, Refresh, RefreshState
from stretto.errors import Unsupported
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

PROMPT, NEW = [5, 7, 9, 11, 3], 12
SETTINGS = {"max_new_tokens": NEW, "end_tokens": (), "temperature": 0.7}


@dataclass(frozen=True, slots=True)
class Blind(Refresh):
    """The slow reference: no cache, and a prompt that sees itself alone."""

    name: ClassVar[str] = "blind"

    def open(self, canvas: Any, context: Any) -> RefreshState:
        return BlindState()


class BlindState(RefreshState):
    def plan(self, canvas: Any, window: Any, wanted: Any) -> Plan:
        return Plan(np.arange(len(canvas)), blind=canvas.prompt)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))).model for name in ("llada", "dream")}


@pytest.mark.parametrize("name", ["llada", "dream"])
@pytest.mark.parametrize("order", ["confident(0.3)+blocks(4)", "low-confidence", "random-order"])
def test_it_is_everything_computed_anew_with_a_blind_prompt(networks, name: str, order: str) -> None:
    parts = method.parse(f"{order}+prefill")
    texts = [PROMPT, [4, 8], [4, 8, 3, 9, 9, 6, 2]]  # side by side, of unequal lengths
    once = answer(networks[name], texts, parts, **SETTINGS)
    always = answer(networks[name], texts, replace(parts, refresh=Blind()), **SETTINGS)
    seeing = answer(networks[name], texts, order, **SETTINGS)
    for one, other in zip(once, always, strict=True):
        assert one.tokens == other.tokens
        assert [s.positions for s in one.steps] == [s.positions for s in other.steps]
        for a, b in zip(one.steps, other.steps, strict=True):
            np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-4)
    assert [[s.confidence for s in one.steps] for one in once] != [[s.confidence for s in one.steps] for one in seeing]
    for text, one in zip(texts, once, strict=True):
        alone = answer(networks[name], text, parts, **SETTINGS)
        assert alone.tokens == one.tokens


def test_what_it_costs(networks) -> None:
    """The whole canvas once, then the answer alone: in the long run (P + G) / G times less."""
    found = answer(networks["llada"], PROMPT, "low-confidence+prefill", **SETTINGS)
    plain = answer(networks["llada"], PROMPT, "low-confidence", **SETTINGS)
    assert plain.counters.token_forwards == NEW * (len(PROMPT) + NEW)
    assert found.counters.token_forwards == len(PROMPT) + NEW * NEW
    shifted = answer(networks["dream"], PROMPT, "low-confidence+prefill", **SETTINGS)
    first = next(at for at, step in enumerate(shifted.steps) if len(PROMPT) in step.positions)
    assert shifted.counters.token_forwards == len(PROMPT) + NEW * NEW + first  # the row that speaks of the first


def test_where_there_is_no_prompt_it_computes_everything(networks) -> None:
    mask = networks["llada"].masking.mask
    holes = [mask, 7, mask, mask, 4]
    found = answer(networks["llada"], holes, "low-confidence+prefill", end_tokens=())
    plain = answer(networks["llada"], holes, "low-confidence", end_tokens=())
    assert found.tokens == plain.tokens and found.counters.token_forwards == plain.counters.token_forwards


def test_a_block_causal_model_has_a_better_cache() -> None:
    with pytest.raises(Unsupported) as caught:
        method.check(method.parse("dimple"), MaskedTable.random_masked(6, 8, Masking(5, block=4)))
    assert "block-cache" in caught.value.hint

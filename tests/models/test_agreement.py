"""Models agree with their modules wherever the configuration names a length, or they are not taken."""

from __future__ import annotations

from functools import cache as remember
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from models import test_network as driven
from models.families import EXPERTS, FAMILIES, GROUPED, OWN_ROTATION, POSITIONS, REACH, build
from models.test_network import eager
from stretto.errors import ModelError
from stretto.models import fuse
from stretto.models.agreement import gap, probed
from stretto.models.contract import Ability
from stretto.models.eager import logits_at
from stretto.models.fast import lean_or_none
from stretto.models.network import Network
from stretto.models.place import Chunk


@remember
def networks(family: str) -> Network:
    return Network(OWN_ROTATION[family](), family)


@pytest.fixture(params=OWN_ROTATION)
def network(request: pytest.FixtureRequest) -> Network:
    return networks(request.param)


@pytest.fixture
def reference(network: Network) -> PreTrainedModel:
    return eager(OWN_ROTATION[network.name]())


def test_beyond_each_border_in_pieces_in_trees_and_beside_others(network: Network, reference: PreTrainedModel) -> None:
    driven.test_prompt_hidden_rows_and_read_outs(network, reference)
    driven.test_chunks_and_single_tokens(network, reference, "rotated")
    driven.test_tree_paths_are_chains(network, reference)
    driven.test_unequal_rows_are_as_alone(network, reference, "rotated")
    driven.test_going_on_after_keep_truncate_and_fork(network, reference, "rotated")
    assert Ability.RAW_KEYS not in network.abilities


def test_the_survey_sees_chunks() -> None:
    assert networks("llama4").anatomy.reaches == (Chunk(REACH), Chunk(REACH), None)


def test_positions_are_those_that_the_configuration_names() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 100.0}
    config = build("Mistral", num_key_value_heads=2, rope_parameters=rope, sliding_window=20).config
    places = probed(config, POSITIONS)
    assert places == sorted(set(places))
    assert {0, 19, 20, 21, 31, 32, 33, POSITIONS - 2, POSITIONS - 1} <= set(places) <= set(range(POSITIONS))
    assert len(places) < 30
    assert max(probed(config, 3)) == 2


def refusal(module: PreTrainedModel) -> str:
    """Why the fast path does not serve a module."""
    reasons: list[str] = []
    assert lean_or_none(module, reasons.append) is None
    return reasons[0]


def test_a_field_that_is_not_known_leaves_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "llama_4_scaling_beta" in refusal(FAMILIES["ministral3"]())
    monkeypatch.setattr(fuse, "FIELDS", fuse.FIELDS - {"attention_multiplier"})
    assert "attention_multiplier" in refusal(FAMILIES["granite"]())


def test_what_shows_only_far_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries that grow beyond position 16, were their field not known; a window that is one position longer."""
    monkeypatch.setattr(fuse, "ROPE_FIELDS", fuse.ROPE_FIELDS | {"llama_4_scaling_beta"})
    assert "differ" in refusal(FAMILIES["ministral3"]())
    module = build("Mistral", **GROUPED, sliding_window=40)
    assert [layer.reach for layer in lean_or_none(build("Mistral", **GROUPED, sliding_window=40)).weights.layers] == [
        40
    ] * 3
    for layer in module.model.layers:
        layer.self_attn.sliding_window = 41  # the fast path reads it here; the module's mask asks the configuration
    assert "differ" in refusal(module)


def test_a_driven_model_that_forgets_a_border_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(build("Mistral", **GROUPED, sliding_window=40))
    assert gap(network, network.module) < 1e-5
    for other in (None, 39, 41, Chunk(40)):
        monkeypatch.setattr(network.anatomy.__class__, "reaches", (other,) * 3, raising=False)
        assert gap(network, network.module) > 1e-3, other


def test_the_reference_is_the_modules_own_forward() -> None:
    """At consecutive positions the probing attention gives what the module gives by itself, windows closed."""
    module = eager(FAMILIES["gemma2"]())
    tokens = torch.tensor([driven.TOKENS])
    places = torch.arange(tokens.shape[1])[None]
    with torch.inference_mode():
        driven.close(logits_at(module, tokens, places)[0], driven.truth(module, driven.TOKENS))


def test_positions_taken_from_the_length_of_the_cache_are_refused() -> None:
    settings: dict[str, Any] = {
        **GROUPED,
        **EXPERTS,
        "head_dim": 8,
        "num_local_experts": 4,
        "intermediate_size_mlp": 48,
    }
    module = build("Llama4Text", **settings, attn_temperature_tuning=True, no_rope_layers=[1, 1, 0])
    with pytest.raises(ModelError, match="length of the cache"):
        Network(module)

"""The circuit written into first weights copies before any training; without it a fresh network cannot."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stretto.train.induction import seed_induction

V = 512
WORDS = [f"word{index}" for index in range(V)]


def fresh(hidden: int, heads: int, key_heads: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=hidden // heads,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def copied(model: LlamaForCausalLM, length: int) -> float:
    """Share of right argmax tokens in the second half of a random sequence that is said twice."""
    generator = torch.Generator().manual_seed(1)
    once = torch.randint(0, V, (4, length), generator=generator)
    tokens = torch.cat([once, once], dim=1)
    with torch.no_grad():
        best = model(tokens).logits.argmax(-1)
    return float((best[:, length:-1] == tokens[:, length + 1 :]).float().mean())


@pytest.mark.parametrize(("hidden", "heads", "key_heads", "least"), [(256, 4, 2, 0.75), (96, 2, 1, 0.6)])
def test_a_seeded_network_copies(hidden, heads, key_heads, least):
    model = fresh(hidden, heads, key_heads)
    assert copied(model, 40) < 0.1
    seed_induction(model, WORDS)
    assert copied(model, 40) > least


def test_too_few_key_heads_are_refused():
    with pytest.raises(AssertionError, match="cannot carry"):
        seed_induction(fresh(256, 4, 1), WORDS)

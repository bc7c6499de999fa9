"""A small mixture and its tokenizer, made once."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stretto.gym.mixture import Mixture
from stretto.train.masked import SEEN
from stretto.train.tokenizer import train_tokenizer
from stretto.train.zoo import draft_config

CODE = "def add(left, right):\n    return left + right\n\n\nclass Box:\n    size = 3\n" * 200
PROSE = "It was a bright cold day, and the clocks were striking one. Nobody listened.\n" * 200


@pytest.fixture(scope="session")
def mixture() -> Mixture:
    return Mixture((("How many is 2 and 3?", "2 + 3 = 5\n#### 5"),), (PROSE,), (CODE,))


@pytest.fixture(scope="session")
def tokenizer(mixture: Mixture) -> PreTrainedTokenizerFast:
    return train_tokenizer(mixture, chats=3000)


@pytest.fixture(scope="module")
def network(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh one that may see its whole canvas."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(draft_config(tokenizer)).eval()
    model.set_attn_implementation(SEEN)
    return model

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


@pytest.fixture(autouse=True)
def quick_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor does not multiply bfloat16, torch's Muon takes a minute a test: there in float32."""
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return

    def orthogonal(grad: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float):
        a, b, c = coefficients
        tall = grad.shape[0] > grad.shape[1]
        x = grad.float().T if tall else grad.float()
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x

    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", orthogonal)

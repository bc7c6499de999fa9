"""Slots that only fill up a batch are seen by nobody: each row's answer is the one it has alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import PreTrainedModel

from models.families import GROUPED, ROPE, build
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock
from stretto.models.load import Model
from stretto.models.network import Network
from stretto.models.window import Window

CPU = torch.device("cpu")
POSITIONS = 48
SHORT = {"max_position_embeddings": POSITIONS, "num_hidden_layers": 2}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "frequencies of the longest row": partial(
        build, "Llama", num_key_value_heads=2, rope_parameters=ROPE | {"rope_type": "dynamic", "factor": 4.0}, **SHORT
    ),
    "a table of positions": partial(build, "GPT2", **SHORT),
    "a table with an offset": partial(build, "OPT", ffn_dim=48, word_embed_proj_dim=32, init_std=0.15, **SHORT),
    "a sliding window": partial(build, "Mistral", **GROUPED, sliding_window=5, **SHORT),
}
GREEDY: dict[str, float] = {}
SAMPLED = {"temperature": 1.0, "seed": 3}
CHANCE = random.Random(4)
PROMPTS = [[CHANCE.randrange(3, 97) for _ in range(length)] for length in (30, 11, 3, 45)]


@pytest.fixture(params=MODELS, scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    model: Model = Network(MODELS[request.param]())
    return Engine(model, clock=SimulatedClock())


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_batch_says_what_each_row_says_alone_up_to_the_last_position(
    engine: Engine, settings: dict[str, float]
) -> None:
    def answers(prompts: list[list[int]], method: str) -> list[list[int]]:
        return [each.tokens for each in engine.generate(prompts, method, max_new_tokens=64, **settings)]

    alone = [answers([prompt], "plain")[0] for prompt in PROMPTS]
    assert [len(prompt) + len(tokens) for prompt, tokens in zip(PROMPTS, alone, strict=True)] == [POSITIONS] * 4
    for method in ("plain", "jacobi+fixed(7)", "lookup(matches=4)+fixed(12)"):
        assert answers(PROMPTS, method) == alone


def test_padding_stands_where_the_row_ends() -> None:
    window = Window.chain([0, 1, 2], [[5], [6, 7, 8, 9], [10, 11]], [60, 3, 7], CPU)
    assert window.positions.tolist() == [[60] * 4, [3, 4, 5, 6], [7, 8, 8, 8]]

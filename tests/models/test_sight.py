"""Vision-language checkpoints of transformers: our logits over text and pictures are their own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy  # some configurations write into what they are given
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from models.families import GROUPED, ROPE
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.lean import Lean

IMAGE, VOCABULARY = 98, 99
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    **GROUPED,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,  # as many as the language model's
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "initializer_range": 0.15,
}
SMALL: dict[str, Any] = {"image_token_id": IMAGE, "scale_factor": 2, "pad_token_id": 0}
MROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]}
QWEN: dict[str, Any] = {
    "text_config": {**TEXT, "rope_parameters": MROPE},
    "vision_config": {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4},
    "image_token_id": IMAGE,
    "video_token_id": 97,
    "vision_start_token_id": 95,
    "vision_end_token_id": 96,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "Llava": lambda: transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**TEXT),
        vision_config=transformers.CLIPVisionConfig(**VISION),
        image_token_index=IMAGE,
    ),
    "Idefics3": lambda: transformers.Idefics3Config(
        text_config=transformers.LlamaConfig(**TEXT), vision_config=VISION, **SMALL
    ),
    "SmolVLM": lambda: transformers.SmolVLMConfig(
        text_config=transformers.LlamaConfig(**TEXT), vision_config=VISION, **SMALL
    ),
    "Qwen2VL": lambda: transformers.Qwen2VLConfig(**deepcopy(QWEN)),
    "Gemma3": lambda: transformers.Gemma3Config(
        text_config={
            **TEXT,
            "head_dim": 8,
            "rope_parameters": {each: {**ROPE} for each in ("full_attention", "sliding_attention")},
        },
        vision_config=VISION,
        image_token_index=IMAGE,
        mm_tokens_per_image=4,
    ),
}
ROWS = {"Llava": 16, "Idefics3": 4, "SmolVLM": 4, "Qwen2VL": 4, "Gemma3": 4}
SEEN = ("Llava", "Idefics3", "SmolVLM")


@cache
def module_of(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    module = getattr(transformers, f"{family}ForConditionalGeneration")(CONFIGS[family]())
    module.generation_config = transformers.GenerationConfig()
    made: PreTrainedModel = module.eval().requires_grad_(False)
    return made


def pixels(seed: int = 0) -> Tensor:
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))


def inputs(family: str, seed: int = 0, pictures: int = 1) -> dict[str, Tensor]:
    """What the family's processor makes of a text with pictures."""
    tokens = [1, 40, 41]
    for _ in range(pictures):
        tokens += [*[IMAGE] * ROWS[family], 7, 8]
    ids = torch.tensor([tokens])
    images = torch.stack([pixels(seed + each) for each in range(pictures)])
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if family == "Qwen2VL":  # patches of two frames, and the grid that they lie in
        patches = images[0].repeat(2, 1, 1, 1).unfold(2, 4, 4).unfold(3, 4, 4)  # [2, 3, 4, 4, 4, 4]
        made["pixel_values"] = patches.permute(2, 3, 1, 0, 4, 5).reshape(16, -1)
        return made | {"image_grid_thw": torch.tensor([[1, 4, 4]]), "mm_token_type_ids": (ids == IMAGE).int()}
    if family == "Gemma3":
        made["token_type_ids"] = (ids == IMAGE).int()
    made["pixel_values"] = images[None] if family in ("Idefics3", "SmolVLM") else images
    return made


@cache
def engine(family: str) -> Engine:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        module_of(family).save_pretrained(folder)
        return Engine.load(Path(folder))


@pytest.mark.parametrize("family", SEEN)
@pytest.mark.parametrize("pictures", [1, 2])
def test_answers_to_pictures_are_transformers_own(family: str, pictures: int) -> None:
    given = inputs(family, pictures=pictures)
    ours = engine(family)
    assert isinstance(ours.model, Lean)
    prompt = ours.sight.look(ours.model, given)
    assert [len(picture) for picture in prompt.pictures] == [ROWS[family]] * pictures
    theirs = module_of(family).generate(**given, max_new_tokens=16, do_sample=False, eos_token_id=None)
    answer = ours.generate(prompt, "plain", max_new_tokens=16, end_tokens=(), log_probabilities=0)
    size = given["input_ids"].shape[1]
    assert answer.tokens == theirs[0, size:].tolist()
    whole = {**given, "input_ids": theirs, "attention_mask": torch.ones_like(theirs)}
    logits = module_of(family)(**whole).logits[0, size - 1 : -1].log_softmax(-1)
    raw = torch.tensor([each.raw for each in answer.log_probabilities or []])
    assert torch.allclose(logits.gather(1, theirs[0, size:, None])[:, 0], raw, atol=1e-4)


@pytest.mark.parametrize("family", SEEN)
def test_other_pictures_and_drafts(family: str) -> None:
    ours = engine(family)
    prompts = [ours.sight.look(ours.model, inputs(family, seed)) for seed in (0, 5)]
    settings: dict[str, Any] = {"max_new_tokens": 16, "end_tokens": (), "temperature": 1.0}
    alone = [ours.generate(prompt, "plain", **settings).tokens for prompt in prompts]
    assert alone[0] != alone[1]
    assert [answer.tokens for answer in ours.generate(prompts, "recycle", **settings)] == alone


@pytest.mark.parametrize("family", SEEN)
def test_a_picture_is_encoded_anew_of_other_pixels(family: str) -> None:
    ours = engine(family)
    one, other = (ours.sight.look(ours.model, inputs(family, seed)).pictures[0] for seed in (0, 5))
    assert torch.equal(one.encoded(other.pixels).rows, other.rows)
    assert not torch.equal(one.rows, other.rows)


@pytest.mark.parametrize(
    ("family", "what"), [("Qwen2VL", "position_ids of its own"), ("Gemma3", "attention_mask of its own")]
)
def test_pictures_that_are_more_than_rows_are_refused(family: str, what: str) -> None:
    ours = engine(family)
    with pytest.raises(Unsupported, match=what):
        ours.sight.look(ours.model, inputs(family))
    text = [1, 40, 41, 7, 8]
    theirs = module_of(family).generate(torch.tensor([text]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert ours.generate(text, "plain", max_new_tokens=8, end_tokens=()).tokens == theirs[0, len(text) :].tolist()


def test_inputs_that_are_no_prompt_with_pictures_are_refused() -> None:
    ours, given = engine("Llava"), inputs("Llava")
    look = ours.sight.look
    for wrong, said in (
        ({**given, "input_ids": torch.tensor([[1, 2, 3]])}, "no picture"),
        ({"input_ids": given["input_ids"]}, "no picture"),
        ({**given, "input_ids": given["input_ids"].repeat(2, 1)}, "one prompt"),
        ({**given, "attention_mask": torch.zeros_like(given["input_ids"])}, "one prompt"),
        ({**given, "pixel_values": torch.zeros(2, 3, 16, 16)}, "takes no such inputs"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            look(ours.model, wrong)

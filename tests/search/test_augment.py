"""Cache augmentation against a slow reference: what the coprocessor says of the prompt stands before its last token."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.families import FAMILIES
from models.test_lean import fast, leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.lean import Lean
from stretto.models.table import TableModel
from stretto.models.window import RAW, Window
from stretto.search.augment import Augment, soft_rows
from stretto.search.loop import Searched

PROMPT = [5, 9, 2, 31, 5, 9]
SETTINGS: dict[str, Any] = {"max_new_tokens": 8, "end_tokens": ()}


def engine() -> Engine:
    return Engine(leans("llama"), clock=SimulatedClock())


@cache
def other() -> Lean:
    """A coprocessor of other weights."""
    module = copy.deepcopy(FAMILIES["llama"]())
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return fast(module)


def said(size: int, method: str = "", **settings: Any) -> list[int]:
    return engine().generate(PROMPT, f"augment({size}){method}", **{**SETTINGS, **settings}).tokens


def slowly(prompt: list[int], soft: Tensor, coprocessor: Lean) -> list[int]:
    """Everything in windows of whole texts."""
    model, size = leans("llama"), len(soft)
    store = model.new_cache()
    row = store.open()
    model.evaluate(Window.chain([row], [prompt[:-1]], [0], model.device), store, Want(logits=False))
    window = Window.chain([row], [[RAW] * size], [len(prompt) - 1], model.device)
    window.embeds = soft[None]
    rows = coprocessor.evaluate(window, store, Want(hidden=(model.layers,))).hidden[model.layers][0]
    text = [*prompt[:-1], *[RAW] * size, prompt[-1]]
    for _ in range(SETTINGS["max_new_tokens"]):
        store = model.new_cache()
        window = Window.chain([store.open()], [text], [0], model.device)
        window.embeds = torch.zeros(1, len(text), model.channels)
        window.embeds[0, len(prompt) - 1 : len(prompt) - 1 + size] = rows
        logits = model.evaluate(window, store, Want()).logits
        assert logits is not None
        text.append(int(logits[0, -1].argmax()))
    return text[-SETTINGS["max_new_tokens"] :]


@pytest.mark.parametrize("prompt", [PROMPT, [8, 3]])
def test_answers_follow_what_the_coprocessor_says(prompt: list[int]) -> None:
    model = leans("llama")
    answers = []
    for size, coprocessor in ((3, model), (3, other()), (6, other())):
        method = Searched(Augment(size, "" if coprocessor is model else coprocessor))
        answers.append(engine().generate(prompt, method, **SETTINGS).tokens)
        assert answers[-1] == slowly(prompt, soft_rows("random:0", size, model), coprocessor)
    assert len({tuple(answer) for answer in answers}) > 1


def test_no_row_is_plain_decoding_and_rows_are_no_part_of_the_answer() -> None:
    plain = engine().generate(PROMPT, "plain", **SETTINGS).tokens
    assert said(0) == plain != said(8)
    assert len(said(8)) == 8


def test_drafts_batches_and_samples_change_nothing() -> None:
    drawn = {**SETTINGS, "temperature": 1.0, "seed": 3}
    prompts = [PROMPT, [3, 3, 3, 3], [8]]
    alone = [engine().generate(prompt, "augment(4)", **drawn).tokens for prompt in prompts]
    for more in ("", "+lookup", "+recycle"):
        found = engine().generate(prompts, f"augment(4){more}", samples=2, **drawn)
        assert [answer.tokens for answer in found[::2]] == alone
        assert len({tuple(answer.tokens) for answer in found}) == 6
    used = engine()  # what was read with rows is not taken for what was read without, nor the other way
    for method in ("augment(4)", "plain", "augment(4)"):
        kept = used.generate(PROMPT, method, **drawn).tokens
        assert kept == (alone[0] if method != "plain" else engine().generate(PROMPT, "plain", **drawn).tokens)


def test_soft_rows_come_from_a_file(tmp_path: Path) -> None:
    model, file = leans("llama"), tmp_path / "soft.safetensors"
    rows = torch.randn(5, model.channels, generator=torch.Generator().manual_seed(1))
    save_file({"rows": rows}, file)
    assert torch.equal(soft_rows(str(file), 3, model), rows[:3])
    found = engine().generate(PROMPT, Searched(Augment(3, soft=str(file))), **SETTINGS).tokens
    assert found == slowly(PROMPT, rows[:3], model) != said(3)
    for size, wrong in ((6, str(file)), (1, str(tmp_path / "none.safetensors"))):
        with pytest.raises(ModelError):
            soft_rows(wrong, size, model)
    with pytest.raises(InvalidRequest, match="names no seed"):
        soft_rows("random:x", 1, model)


def test_what_it_cannot_serve_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="rows are added"):
        Augment(-1)
    with pytest.raises(Unsupported, match="in the place of tokens"):
        Engine(TableModel.random(6, seed=1)).generate([0], "augment(2)", **SETTINGS)
    with pytest.raises(Unsupported, match="no place is left"):
        said(leans("llama").max_positions)
    with pytest.raises(Unsupported, match="built otherwise"):
        engine().generate(PROMPT, Searched(Augment(2, leans("qwen3"))), **SETTINGS)

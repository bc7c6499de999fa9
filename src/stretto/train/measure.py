"""How many of the gym's held-out questions a model answers rightly, by greedy decoding of many at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stretto.engine import Engine
from stretto.gym import Question, questions, task, tasks
from stretto.models.contract import masking_of

LONGEST_ANSWER = 448
AT_ONCE = 64
CANVAS = 32  # a masked model's canvas is a multiple of this
BASELINES = {  # one token a step, the surest first, everything computed; by whether the model is block-causal
    False: f"low-confidence+blocks({CANVAS})+end-of-text",
    True: "low-confidence+block-cache+end-of-text",
}

Ask = Callable[[list[Question]], list[str]]  # many questions at once -> the model's replies


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One kind's result."""

    right: int
    asked: int
    answer_tokens: float  # mean length of the model answers


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> dict[str, Accuracy]:
    """Ask a causal model `count` test questions of every kind; the result by kind."""
    model.eval()
    return _measured(lambda asked: answers(model, tokenizer, asked), tokenizer, count, seed)


def measure_masked(engine: Engine, count: int, seed: int) -> dict[str, Accuracy]:
    """The same of a model that fills masks, one token a step."""
    assert engine.tokenizer is not None
    return _measured(lambda asked: masked_answers(engine, asked), engine.tokenizer, count, seed)


def _measured(ask: Ask, tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> dict[str, Accuracy]:
    results = {}
    for kind in tasks():
        asked = list(questions(kind, "test", count, seed))
        replies: list[str] = []
        for start in range(0, count, AT_ONCE):
            replies += ask(asked[start : start + AT_ONCE])
        right = sum(task(kind).check(question, reply) for question, reply in zip(asked, replies, strict=True))
        lengths = [len(tokenizer(question.answer)["input_ids"]) for question in asked]
        results[kind] = Accuracy(right, count, round(sum(lengths) / count, 1))
    return results


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, asked: list[Question]) -> list[str]:
    """The model's greedy replies, all in one batch padded on the left."""
    chats = [[{"role": "user", "content": question.prompt}] for question in asked]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    tokenizer.padding_side = "left"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        tokens = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=LONGEST_ANSWER,
        )
    replies = tokens[:, inputs["input_ids"].shape[1] :]
    return [str(text) for text in tokenizer.batch_decode(replies, skip_special_tokens=True)]


def masked_answers(engine: Engine, asked: list[Question]) -> list[str]:
    """A masked model's greedy replies, on canvases with room for the longest of the right answers."""
    masking, tokenizer = masking_of(engine.model), engine.tokenizer
    assert masking is not None and tokenizer is not None
    room = canvas(max(len(tokenizer(question.answer)["input_ids"]) for question in asked))
    chats = [[{"role": "user", "content": question.prompt}] for question in asked]
    found = engine.generate(chats, BASELINES[masking.block is not None], max_new_tokens=room)
    return [each.text for each in found]


def canvas(longest: int) -> int:
    """The length of a canvas with room for an answer of so many tokens and the end token."""
    return -(-(longest + 1) // CANVAS) * CANVAS

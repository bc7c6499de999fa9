"""How many of the gym's held-out questions a model answers rightly, by plain batched greedy decoding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stretto.gym import Question, questions, task, tasks

LONGEST_ANSWER = 448
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One kind's result."""

    right: int
    asked: int
    answer_tokens: float  # mean length of the model answers


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> dict[str, Accuracy]:
    """Ask `count` test questions of every kind; the result by kind."""
    model.eval()
    results = {}
    for kind in tasks():
        asked = list(questions(kind, "test", count, seed))
        replies: list[str] = []
        for start in range(0, count, AT_ONCE):
            replies += answers(model, tokenizer, asked[start : start + AT_ONCE])
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

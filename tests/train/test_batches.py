"""A batch is a pure function of its number, holds whole chats, and asks for answers."""

from __future__ import annotations

import pytest
import torch

from stretto.train.batches import KINDS, Batches


@pytest.fixture(scope="module")
def batches(mixture, tokenizer) -> Batches:
    return Batches(mixture, tokenizer, seed=5)


def test_the_same_number_gives_the_same_batch(mixture, tokenizer, batches) -> None:
    one, again = batches.batch(3, 2, 256), Batches(mixture, tokenizer, seed=5).batch(3, 2, 256)
    assert torch.equal(one.tokens, again.tokens) and torch.equal(one.weights, again.weights)
    assert not torch.equal(one.tokens, batches.batch(4, 2, 256).tokens)


def test_rows_start_with_a_chat_and_are_full(tokenizer, batches) -> None:
    batch = batches.batch(0, 16, 256)
    assert batch.tokens.shape == batch.weights.shape == batch.kinds.shape == (16, 256)
    starts = {tokenizer.convert_ids_to_tokens(int(first)) for first in batch.tokens[:, 0]}
    assert starts <= {"<|user|>", "<|system|>"}
    assert not (batch.tokens == tokenizer.pad_token_id).any()


def test_every_answer_token_counts_and_few_of_the_questions_do(tokenizer, batches) -> None:
    batch = batches.batch(1, 32, 512)
    marks = ("system", "user", "assistant", "bos")
    system, user, assistant, bos = (tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks)
    asked, prompts = [], []
    for tokens, weights in zip(batch.tokens.tolist(), batch.weights.tolist(), strict=True):
        question = True
        for token, weight in zip(tokens, weights, strict=True):
            question = token in (system, user) or (question and token != bos)
            (prompts if question else asked).append(weight)
            question = question and token != assistant  # the mark itself still belongs to the question
    assert all(weight == 1.0 for weight in asked)
    assert 0.05 < sum(prompts) / len(prompts) < 0.15


def test_real_text_fills_about_a_quarter(batches) -> None:
    kinds = torch.cat([batches.batch(number, 16, 256).kinds.flatten() for number in range(4)])
    text = (kinds >= KINDS.index("prose")).double().mean()
    assert 0.1 < float(text) < 0.4

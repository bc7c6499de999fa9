"""The tokenizer loses nothing, splits digits, reserves its marks, and loads like any other."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from stretto.train.tokenizer import RESERVED, SAMPLE_CHATS


def test_any_text_comes_back(tokenizer) -> None:
    @given(st.text(max_size=50))
    def comes_back(text: str) -> None:
        if not any(mark in text for mark in RESERVED):
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text

    comes_back()


def test_digits_stand_alone(tokenizer) -> None:
    assert tokenizer.tokenize("12345") == list("12345")
    assert sum(any(digit in token for digit in "0123456789") and len(token) > 1 for token in tokenizer.get_vocab()) == 9


def test_marks_are_reserved(tokenizer) -> None:
    assert [tokenizer.convert_tokens_to_ids(mark) for mark in RESERVED] == list(range(len(RESERVED)))
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.mask_token) == ("<|end|>", "<|pad|>", "<|mask|>")
    assert len(tokenizer) <= 4096 and SAMPLE_CHATS > 0


def test_it_loads_like_any_other_and_knows_the_chat_form(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi 12"}]
    text = loaded.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>S<|end|><|user|>Hi 12<|end|><|assistant|>"
    assert loaded.encode(text, add_special_tokens=False)[-1] == tokenizer.convert_tokens_to_ids("<|assistant|>")

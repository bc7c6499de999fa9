"""A tokenizer that is read from its file alone reads and writes what transformers' reads and writes."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.errors import ModelError
from stretto.models.checkpoint import find
from stretto.models.tokenizer import FileTokenizer, from_file, load_tokenizer, stock
from stretto.text import Codec, fingerprint

ZOO = find("zoo/causal")
MINE, THEIRS = from_file(ZOO), stock(ZOO)
SPELT = st.lists(st.sampled_from(["<|user|>", "<|end|>", "<|mask|>", " ", "\n", "é", "word", "𝄞", "<|"])).map("".join)


@given(st.text() | SPELT)
def test_it_reads_and_writes_alike(text: str) -> None:
    for special in (True, False):
        ids = MINE.encode(text, add_special_tokens=special)
        assert ids == THEIRS.encode(text, add_special_tokens=special)
        assert MINE.decode(ids, skip_special_tokens=special) == THEIRS.decode(ids, skip_special_tokens=special)


@pytest.mark.parametrize("name", ["causal", "draft", "masked", "block"])
def test_the_zoo_s_is_the_same_tokenizer(name: str) -> None:
    mine, theirs = from_file(find(f"zoo/{name}")), stock(find(f"zoo/{name}"))
    assert mine.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    for asked in ("bos_token_id", "eos_token_id", "chat_template", "clean_up_tokenization_spaces", "pad_token"):
        assert getattr(mine, asked) == getattr(theirs, asked)
    assert type(mine.own) is type(theirs) and mine.own.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert mine.added_tokens_decoder.keys() == theirs.added_tokens_decoder.keys()
    assert fingerprint(mine) == fingerprint(theirs)
    assert mine.convert_ids_to_tokens(range(5000)) == theirs.convert_ids_to_tokens(range(5000))


CHANGES = {
    "tokenizer_config.json": [
        {"tokenizer_class": "GPT2Tokenizer"},
        {"clean_up_tokenization_spaces": True},
        {"add_bos_token": True},
        {"split_special_tokens": True},
        {"eos_token": "<|new|>"},
        {"extra_special_tokens": ["Ġthe"]},
        {"auto_map": {"AutoTokenizer": ["code.py", None]}},
        {"added_tokens_decoder": {"0": {"content": "<|end|>", "special": False}}},
    ],
    "tokenizer.json": [
        {"truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}},
        {"padding": {"strategy": "BatchLongest"}},
        {"model": {"type": "none"}},
    ],
    "config.json": [{"model_type": "qwen2"}, {"model_type": "mistral"}],
    "special_tokens_map.json": [{}],
    "added_tokens.json": [{}],
}


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, all_ in CHANGES.items() for at in range(len(all_))])
def test_what_may_be_another_is_left_to_transformers(name: str, at: int, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ZOO, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors")))
    assert from_file(folder) is not None
    file = folder / name
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | CHANGES[name][at]))
    assert from_file(folder) is None


def test_a_torn_file_is_told(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ZOO, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors")))
    (folder / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(ModelError, match="does not load"):
        load_tokenizer(folder)


def test_whatever_else_is_asked_transformers_answers() -> None:
    mine = from_file(ZOO)
    assert isinstance(copy.copy(mine), FileTokenizer) and "own" not in vars(mine)
    assert mine("Hi").input_ids == mine.encode("Hi") and "own" in vars(mine)
    assert mine.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False).count("Hi") == 1
    with pytest.raises(AttributeError):
        mine.nosuch


def test_what_is_changed_from_outside_counts() -> None:
    codec = Codec("it", from_file(ZOO))
    chat = [{"role": "user", "content": "Hi"}]
    codec.encode(chat)
    codec.whole().chat_template = "{{ messages[0]['content'] }}"
    assert codec.decode(codec.encode(chat)) == "Hi"

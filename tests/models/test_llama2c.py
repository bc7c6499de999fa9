"""The llama2.c converter: the weights give the reference outputs, the tokenizer encodes as llama2.c does."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.llama2c import build_tokenizer, convert, read_header, read_vocabulary, read_weights
from stretto.errors import ModelError
from stretto.models.load import load
from stretto.models.network import Network
from stretto.models.window import Window


def encode_slowly(tokens: list[tuple[bytes, float]], text: str) -> list[int]:
    """llama2.c's own algorithm, one step at a time."""
    number = {piece: index for index, (piece, _) in enumerate(tokens)}
    ids = [1]
    for character in (" " + text) if text else "":
        piece = character.encode()
        ids += [number[piece]] if piece in number else [3 + byte for byte in piece]
    while True:
        best_score, best = -1e10, -1
        for at in range(1, len(ids) - 1):
            joined = number.get(tokens[ids[at]][0] + tokens[ids[at + 1]][0])
            if joined is not None and tokens[joined][1] > best_score:
                best_score, best, best_id = tokens[joined][1], at, joined
        if best < 0:
            return ids
        ids[best : best + 2] = [best_id]


@pytest.fixture(scope="module")
def story_tokens(shared_data: Path) -> list[tuple[bytes, float]]:
    return read_vocabulary((shared_data / "models/stories260k/tok512.bin").read_bytes(), 512)


@pytest.fixture(scope="module")
def llama_tokens(shared_data: Path) -> list[tuple[bytes, float]]:
    return read_vocabulary((shared_data / "models/tokenizers/llama2/tokenizer.bin").read_bytes(), 32000)


@pytest.fixture(scope="module")
def llama_tokenizer(llama_tokens: list[tuple[bytes, float]]) -> Tokenizer:
    return build_tokenizer(llama_tokens)


@pytest.fixture(scope="module")
def stories(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories260k")
    source = shared_data / "models/stories260k"
    convert(source / "stories260K.bin", source / "tok512.bin", folder)
    return folder


@pytest.mark.parametrize("fast", [False, True])
def test_the_converted_model_reproduces_the_reference(stories: Path, shared_data: Path, fast: bool) -> None:
    reference = json.loads((shared_data / "models/reference_outputs.json").read_text())["stories260k"]
    loaded = load(stories, fast=fast)
    assert isinstance(loaded.model, Network) != fast
    assert loaded.end_tokens == {1, 2}
    model, cache = loaded.model, loaded.model.new_cache()
    row = cache.open()
    tokens = [*reference["prompt_ids"], *reference["greedy_ids"]]
    rows = []  # of logits: one by one at first, then the rest at once
    for start, end in [*((at, at + 1) for at in range(8)), (8, len(tokens) - 1)]:
        logits = model.evaluate(Window.chain([row], [tokens[start:end]], [start], model.device), cache).logits
        assert logits is not None
        rows += list(logits[0])
    best, ids = rows[0].topk(5)
    assert ids.tolist() == [token for token, _ in reference["first_step_top5"]]
    scores = torch.tensor([score for _, score in reference["first_step_top5"]])
    torch.testing.assert_close(best, scores, atol=1e-4, rtol=0)  # the reference is rounded to four places
    assert [int(row.argmax()) for row in rows] == reference["greedy_ids"]
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.decode(tokens[1:]) == reference["greedy_text"].removeprefix(" ")
    assert loaded.tokenizer("Once upon a time").input_ids == [1, *reference["greedy_ids"][:4]]


@settings(max_examples=60)
@given(text=st.one_of(st.text(max_size=30), st.text(alphabet="ab e\n.tnh", max_size=40)))
def test_small_vocabulary_encodes_as_llama2c(story_tokens: list[tuple[bytes, float]], text: str) -> None:
    assert build_tokenizer(story_tokens).encode(text).ids == encode_slowly(story_tokens, text)


def test_large_vocabulary_encodes_as_llama2c(
    llama_tokens: list[tuple[bytes, float]], llama_tokenizer: Tokenizer
) -> None:
    generator = random.Random(0)
    texts = [character * count for character in " -=.*\n\tae" for count in (1, 2, 3, 5, 7, 16, 17, 21, 40)]
    texts += ["".join(generator.choices(" " * 9 + "abcdefgh(){}=.,;\n\té½🦙ß中", k=30)) for _ in range(60)]
    for text in texts:
        assert llama_tokenizer.encode(text).ids == encode_slowly(llama_tokens, text), repr(text)


def test_large_vocabulary_gives_the_public_test_vectors(llama_tokenizer: Tokenizer, shared_data: Path) -> None:
    stem = shared_data / "models/tokenizers/test_vectors/ggml-vocab-llama-spm.gguf"
    texts = stem.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    expected = stem.with_suffix(".gguf.out").read_text().split("\n")
    for text, ids in zip(texts, expected, strict=False):
        assert llama_tokenizer.encode(text).ids[1:] == [int(number) for number in ids.split()], repr(text)
        assert llama_tokenizer.decode([int(number) for number in ids.split()]) == text


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = struct.pack("<7i", 8, 16, 1, 2, 1, 300, 4)
    header = read_header(whole)
    assert (header.head_size, header.shares_head) == (4, True)
    for data in (b"", whole[:20], struct.pack("<7i", 0x616B3432, 1, 8, 16, 1, 2, -1)):
        with pytest.raises(ModelError):
            read_header(data)
    with pytest.raises(ModelError, match="promises"):
        read_weights(whole + bytes(64), header)
    with pytest.raises(ModelError, match="300 tokens"):
        read_vocabulary(bytes(40), 300)
    with pytest.raises(ModelError, match="cannot be read"):
        convert(tmp_path / "none.bin", tmp_path / "none.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_of_its_own_is_read() -> None:
    data = struct.pack("<7i", 8, 16, 1, 2, 1, -300, 4)
    header = read_header(data)
    count = 300 * 8 + (8 + 64 + 32 + 32 + 64 + 8 + 128 * 3) + 8 + 4 * 4 + 300 * 8
    weights = read_weights(data + struct.pack(f"<{count}f", *range(count)), header)
    assert not header.shares_head
    assert weights["lm_head.weight"].shape == (300, 8)
    assert float(weights["lm_head.weight"][-1, -1]) == count - 1
    assert float(weights["model.layers.0.self_attn.q_proj.weight"][2, 0]) == 300 * 8 + 8 + 8  # row 1 of head 0

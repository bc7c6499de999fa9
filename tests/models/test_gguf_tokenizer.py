"""Tokenizers made of the vocabularies of GGUF files cut and join as those that the vocabularies are of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from models.gguf_files import write
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.gguf.file import read
from stretto.models.gguf.splitters import SPLITTERS
from stretto.models.gguf.vocabulary import tokenizer_of, vocabulary_of
from stretto.models.load import opened

CHAT = [{"role": "user", "content": "Why is the sky blue?"}]
WORDS = {"model": "llama", "tokens": ["<unk>", "<s>", "</s>", "a", "b", "ab", "\u2581", "\u2581a", "<0x0A>", "x y"]}
WORDS |= {"token_type": [2, 3, 3, 1, 1, 1, 1, 1, 6, 4], "scores": [*[0.0] * 5, -1.0, 0.0, -2.0, 0.0, 0.0]}


def encoder(path: Path, **pairs: Any) -> Any:
    """The tokenizer of a file with these pairs."""
    file = write(path / "it.gguf", {f"tokenizer.ggml.{key}": value for key, value in pairs.items()}, {})
    vocabulary = vocabulary_of(read(file))
    assert vocabulary is not None
    return tokenizer_of(vocabulary)


def vectors(stem: Path) -> list[tuple[str, list[int]]]:
    """Texts, and the ids that llama.cpp keeps beside them."""
    texts = stem.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    ids = stem.with_suffix(".gguf.out").read_text().split("\n")
    return [(text, [*map(int, line.split())]) for text, line in zip(texts, ids, strict=False)]


def test_pieces_are_joined_as_gpt2_s_are(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "models" / "tokenizers"
    ids = json.loads(gzip.decompress((folder / "gpt2" / "vocab.json.gz").read_bytes()))
    merges = gzip.decompress((folder / "gpt2" / "merges.txt.gz").read_bytes()).decode().split("\n")
    merges = [merge for merge in merges if merge and not merge.startswith("#version")]
    tokens = sorted(ids, key=ids.__getitem__)
    made = encoder(tmp_path, model="gpt2", pre="gpt-2", tokens=tokens, merges=merges)
    pairs = vectors(folder / "test_vectors" / "ggml-vocab-gpt-2.gguf")
    assert len(pairs) > 40
    for text, expected in pairs:
        assert made.encode(text, add_special_tokens=False).ids == expected, repr(text)
        assert made.decode(expected) == text


def test_joined_by_scores_and_begun(tmp_path: Path) -> None:
    made = encoder(tmp_path, **WORDS)
    assert made.encode("ab").ids == [1, 6, 5]  # the better score is joined first
    assert made.encode("a\nb").ids == [1, 7, 8, 4]  # in bytes, where there is no token
    assert made.encode("a<s>ax y").ids == [1, 7, 1, 7, 9]  # each text behind a mark has its space
    assert made.decode([1, 7, 3, 8]) == "aa\n"
    assert encoder(tmp_path, **WORDS, add_bos_token=False, add_eos_token=True).encode("a").ids == [7, 2]
    assert encoder(tmp_path, **WORDS, add_space_prefix=False).encode("ab").ids == [1, 5]


CUT = {  # by what is between the bars a text is cut
    "gpt-2": "I|'ll| have| 1234|  | don|'t|\n|A",
    "smollm": "I|'ll| have| |1|2|3|4|  | don|'t|\n|A",
    "qwen2": "I|'ll| have| |1|2|3|4|  | don|'t|\n|A",
    "llama-bpe": "I|'ll| have| |123|4|  | don|'t|\n|A",
    "tekken": "I|'ll| have| |1|2|3|4|  | don|'t|\n|A",
    "default": "I|'|ll| have| |123|4|  | don|'|t|\n|A",
}


@pytest.mark.parametrize("name", CUT)
def test_texts_are_cut_by_their_splitter(name: str, tmp_path: Path) -> None:
    made = encoder(tmp_path, model="gpt2", pre=name, tokens=["a", "<s>"], merges=[], bos_token_id=1)
    pieces = [text for text, _ in made.pre_tokenizer.pre_tokenize_str(CUT[name].replace("|", ""))]
    assert pieces == CUT[name].replace(" ", "\u0120").replace("\n", "\u010a").split("|")


def test_every_splitter_compiles(tmp_path: Path) -> None:
    for name in SPLITTERS:
        made = encoder(tmp_path, model="gpt2", pre=name, tokens=["a", "<s>"], merges=[], bos_token_id=1)
        assert made.encode("a 1").ids[-1:] in ([0], [1], []), name


def test_a_real_file_reads_and_writes(smollm2: Path) -> None:
    checkpoint = opened(smollm2)
    tokenizer = checkpoint.tokenizer()
    assert tokenizer is not None and checkpoint.content["eos_token_id"] == [0, 2]
    text = "Hello  world\n\n<|im_end|> 12345 é 🦙 \t x"
    ids = [19556, 216, 905, 1116, 2, 216, 33, 34, 35, 36, 37, 26411, 15107, 116, 243, 216, 197, 1792]
    assert tokenizer.encode(text) == ids and tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text.replace("<|im_end|>", "")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer.get_vocab())) == (1, 2, 49152)
    said = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert said == tokenizer.own.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert said.endswith("<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.own.encode(text) == ids


def test_a_real_file_answers(smollm2: Path) -> None:
    engine = Engine.load(smollm2)
    assert engine.end_tokens == {0, 2}
    answer = engine.generate("Gravity is", "plain", max_new_tokens=8)
    assert list(answer.tokens) == [253, 4959, 1909, 281, 6944, 338, 6601, 260]  # of the plain module
    assert engine.encode(CHAT)[-4:] == [1, 520, 9531, 198]


def test_several_templates_and_none(tmp_path: Path) -> None:
    from models.gguf_files import network, pairs_of, tensors_of

    module = network("llama")
    pairs, tensors = pairs_of(module), tensors_of(module)
    named = {"tokenizer.chat_template.tool_use": "w7{{ messages[0]['content'] }}"}
    engine = Engine.load(write(tmp_path / "both.gguf", pairs | named, tensors))
    assert engine.encode([{"role": "user", "content": "w5"}]) == [1, 5, 3]
    assert engine.codec.tokenizer.chat_template.keys() == {"default", "tool_use"}
    del pairs["tokenizer.chat_template"]
    engine = Engine.load(write(tmp_path / "none.gguf", pairs, tensors))
    with pytest.raises(InvalidRequest, match="has no chat template"):
        engine.chat("w5")

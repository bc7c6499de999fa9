"""Tokenizers of each kind of decoder, tiny ones and those of real models: what text has to come out of unharmed."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from models.llama2c import build_tokenizer, read_vocabulary

PLACE = Path(__file__).parents[1] / "src" / "stretto" / "zoo" / "causal"
CONTROLS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [
    "a",
    "b",
    "ab",
    "STOP",
    "ST",
    "OP",
    "é",
    "€",
    "\ufffd",
    "n",
    "'",
    "t",
    ".",
    "do",
    "s",
    "<",
    "|",
    ">",
    "im",
    "_",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def finished(tokenizer, **options):
    """With control tokens that are special, one added token that is none, and a template."""
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in CONTROLS])
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **options)
    fast.chat_template = CHATML
    return fast


def byte_fallback(start):
    """As Llama 2 (a prefix put in front) and Gemma (none) have it."""
    words = [*dict.fromkeys([*WORDS, "▁", "▁a", "▁do", *"STOPimdo_\n"])]
    vocabulary = {word: at for at, word in enumerate(["<unk>", *BYTES, *words])}
    merges = [("S", "T"), ("O", "P"), ("ST", "OP"), ("a", "b"), ("d", "o"), ("▁", "a"), ("▁", "do"), ("i", "m")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *replace] if start else replace)
    chain = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*chain, decoders.Strip(" ", 1, 0)] if start else chain)
    return finished(tokenizer)


def byte_level():
    """As GPT-2, with a few merges, so that tokens tear characters."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    found = {letter: at for at, letter in enumerate(sorted(letters))}
    merges = [("â", "Ĥ"), ("ð", "Ł"), ("ðŁ", "ĺ"), ("Ġ", "a"), ("S", "T"), ("O", "P"), ("ï", "¿")]
    for one, two in merges:
        found.setdefault(one + two, len(found))
    tokenizer = Tokenizer(models.BPE(found, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return finished(tokenizer)


def word_piece(tidied):
    """As BERT: tidied by its own decoder, or afterwards over the whole text."""
    words = ["[UNK]", *WORDS, *(f"##{word}" for word in WORDS), "n't", "'s", "##'", "m", "ve"]
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=not tidied)
    return finished(tokenizer, clean_up_tokenization_spaces=tidied)


def metaspace():
    """As T5: pieces with their scores."""
    pieces = [("<unk>", 0.0), *((piece, -float(at)) for at, piece in enumerate(["▁", "▁a", *WORDS], start=1))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    return finished(tokenizer)


TINY = {
    "byte fallback after a space": lambda: byte_fallback(start=True),
    "byte fallback": lambda: byte_fallback(start=False),
    "byte level": byte_level,
    "word pieces": lambda: word_piece(tidied=False),
    "word pieces, tidied": lambda: word_piece(tidied=True),
    "metaspace": metaspace,
    "the zoo's": lambda: PreTrainedTokenizerFast.from_pretrained(PLACE),
}
REAL = ("gpt2", "qwen2", "llama2", "stories260k")


@lru_cache
def tiny(name):
    """One of `TINY`, once."""
    return TINY[name]()


@lru_cache
def real(name, data):
    """One of `REAL`, from the folder of shared data."""
    if name in ("gpt2", "qwen2"):
        folder = data / "models" / "tokenizers" / name
        vocabulary = json.loads(gzip.decompress((folder / "vocab.json.gz").read_bytes()))
        lines = gzip.decompress((folder / "merges.txt.gz").read_bytes()).decode("utf-8").splitlines()
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return finished(tokenizer)
    place = {"llama2": "tokenizers/llama2/tokenizer.bin", "stories260k": "stories260k/tok512.bin"}[name]
    count = {"llama2": 32000, "stories260k": 512}[name]
    tokens = read_vocabulary((data / "models" / place).read_bytes(), count)
    return finished(build_tokenizer(tokens))

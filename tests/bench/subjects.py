"""A tiny target with its twin for transformers, a draft and a tokenizer of single characters."""

from __future__ import annotations

import copy
import string

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from models.families import COMMON, GROUPED, VOCABULARY, build
from stretto.bench.subject import Subject, driven
from stretto.engine import Engine
from stretto.models.clock import SimulatedClock

END = COMMON["eos_token_id"]
POSITIONS = 2048
SETTINGS = {**GROUPED, "max_position_embeddings": POSITIONS}


def target():
    return build("Llama", **SETTINGS)


def draft(**settings):
    return build("Llama", **SETTINGS, hidden_size=16, **settings)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, as far as the vocabulary reaches; the first three are special."""
    known = ["<pad>", "<bos>", "<end>", "<unk>", *(string.ascii_letters + string.digits + " .,:;!?'\n_()[]=+-*/%<>")]
    made = Tokenizer(WordLevel({word: at for at, word in enumerate(known[:VOCABULARY])}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<pad>", unk_token="<unk>")


def subject() -> Subject:
    module, small = target(), draft()
    engine = Engine(driven(copy.deepcopy(module)), tokenizer(), clock=SimulatedClock())
    engine.end_tokens = frozenset({END})
    return Subject("tiny", engine, module, driven(copy.deepcopy(small)), small)

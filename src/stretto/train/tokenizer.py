"""The zoo's tokenizer: byte-level BPE of 4096 tokens, single digits, chat marks as reserved tokens."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from stretto.gym.mixture import Mixture

VOCABULARY = 4096
END, PAD, BOS, MASK = "<|end|>", "<|pad|>", "<|bos|>", "<|mask|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPARE = tuple(f"<|spare_{index}|>" for index in range(9))
RESERVED = (END, PAD, BOS, MASK, SYSTEM, USER, ASSISTANT, *SPARE)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SAMPLE_CHATS, SAMPLE_CHARACTERS, PIECE = 40_000, 2_500_000, 2_000


def train_tokenizer(mixture: Mixture, seed: int = 0, chats: int = SAMPLE_CHATS) -> PreTrainedTokenizerFast:
    """Learn the merges on `chats` chats and a sample of the real text; the same arguments give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(RESERVED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(mixture, seed, chats), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        bos_token=BOS,
        mask_token=MASK,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT, *SPARE],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a folder."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def token_texts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The text of each token, by id; bytes that are no text alone come as replacement characters."""
    return [tokenizer.decode([index]) for index in range(len(tokenizer))]


def _sample(mixture: Mixture, seed: int, chats: int) -> Iterator[str]:
    for chat in itertools.islice(mixture.chats(f"tokenizer/{seed}"), chats):
        yield chat.prompt
        yield chat.answer
    rng = random.Random(f"tokenizer/{seed}")
    for texts in (mixture.prose, mixture.code):
        whole = "\n".join(texts)
        for _ in range(SAMPLE_CHARACTERS // PIECE if whole else 0):
            start = rng.randrange(len(whole))
            yield whole[start : start + PIECE]

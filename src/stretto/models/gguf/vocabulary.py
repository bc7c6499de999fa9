"""The tokenizer of a GGUF file, made of its vocabulary alone.

Two kinds are read. `gpt2` joins bytes by a list of merges, within the pieces into which a splitter cuts the text.
`llama` joins characters, again and again the two neighbours whose union is the token of the best score; here every way
to cut a token into two tokens is a merge, in the order of the scores. It writes what it has no token for in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ...errors import ModelError
from .file import File
from .splitters import SPLITTERS, near

SPACE = "\u2581"  # stands for a space in vocabularies of the kind llama
NAMED = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "sep": "seperator", "mask": "mask"}
USUAL = {"llama": {"bos": 1, "eos": 2, "unk": 0}}  # where a file of this kind names none
ENDS = {  # what a chat ends its turns with, by text: files name one of them, and mean all that they hold
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "</s>"),
    *("<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
}


class Kind(IntEnum):
    """What a token is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a file, by id."""

    path: str
    model: str  # how tokens are joined: gpt2 or llama
    texts: Sequence[str]
    kinds: Sequence[int]
    ids: Mapping[str, int]  # by text
    pairs: Mapping[str, Any]  # of the tokenizer, without the beginning that they share

    def named(self, name: str) -> int | None:
        """The id of the token that begins or ends texts, and so on; None where there is none."""
        number = self.pairs.get(f"{NAMED[name]}_token_id", USUAL.get(self.model, {}).get(name))
        return number if isinstance(number, int) and 0 <= number < len(self.texts) else None

    @property
    def special(self) -> dict[str, str]:
        """Texts of these tokens, as templates call them: bos_token and so on."""
        ids = {f"{name}_token": self.named(name) for name in NAMED}
        return {name: self.texts[number] for name, number in ids.items() if number is not None}

    @property
    def ends(self) -> set[int]:
        """All tokens that end an answer."""
        ids = {self.named("eos"), *(self.pairs.get(f"{name}_token_id") for name in ("eot", "eom"))}
        marks = {self.ids[text] for text in ENDS if text in self.ids}
        ids |= {number for number in marks if self.kinds[number] == Kind.CONTROL}  # else it is a tag of some markup
        return {number for number in ids if isinstance(number, int) and 0 <= number < len(self.texts)}


def vocabulary_of(file: File) -> Vocabulary | None:
    """The vocabulary of a file; None where it says that it has none. Raises ModelError where it is not known."""
    begun = "tokenizer.ggml."
    pairs = {key.removeprefix(begun): value for key, value in file.pairs.items() if key.startswith(begun)}
    model, texts = pairs.get("model"), pairs.get("tokens")
    if model in (None, "no_vocab", "none"):
        return None
    if model not in ("gpt2", "llama"):
        hint = "gpt2 and llama are; prompts of a folder of the same checkpoint are encoded by its own tokenizer"
        raise ModelError(f"{file.path} has a tokenizer of kind {model!r}, which is not read", hint=hint)
    if not isinstance(texts, list) or not texts:
        raise ModelError(f"{file.path} names a tokenizer and has no tokens", hint="convert the checkpoint again")
    texts = [text or f"[EMPTY_{number}]" for number, text in enumerate(texts)]
    ids = {text: number for number, text in enumerate(texts)}
    kinds = pairs.get("token_type") or [Kind.NORMAL] * len(texts)
    for what, count in (("different tokens", len(ids)), ("kinds of tokens", len(kinds))):
        if count != len(texts):
            reason = f"{file.path} has {count} {what} for {len(texts)} ids"
            raise ModelError(reason, hint="convert the checkpoint again")
    return Vocabulary(str(file.path), model, texts, kinds, ids, pairs)


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """What encodes and decodes with this vocabulary. Raises ModelError where something that it needs is missing."""
    made = _by_pieces if vocabulary.model == "gpt2" else _by_scores
    tokenizer, begins = made(vocabulary)
    added: dict[bool, list[AddedToken]] = {True: [], False: []}
    for text, kind in zip(vocabulary.texts, vocabulary.kinds, strict=True):
        if kind in (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED):
            special = kind != Kind.USER_DEFINED
            added[special].append(AddedToken(text, special=special, normalized=False))
    tokenizer.add_special_tokens(added[True])
    tokenizer.add_tokens(added[False])
    _frame(tokenizer, vocabulary, begins)
    return tokenizer


def _frame(tokenizer: Tokenizer, vocabulary: Vocabulary, begins: bool) -> None:
    """Have texts begin and end with the tokens that the file asks for."""
    marks = []
    for name, usual in (("bos", begins), ("eos", False)):
        number, wanted = vocabulary.named(name), vocabulary.pairs.get(f"add_{name}_token", usual)
        if wanted and number is None:
            hint = "convert the checkpoint again"
            raise ModelError(f"{vocabulary.path} asks for a {name} token and names none", hint=hint)
        marks.append(vocabulary.texts[number] if wanted and number is not None else "")
    first, last = marks
    named = [(text, vocabulary.ids[text]) for text in dict.fromkeys(marks) if text]
    single = [*([first] if first else []), "$A", *([last] if last else [])]
    pair = [*single, *(f"{each.replace('$A', '$B')}:1" for each in single)]
    own = [processors.TemplateProcessing(single=single, pair=pair, special_tokens=named)] if named else []
    bytes_ = [processors.ByteLevel(trim_offsets=False)] if vocabulary.model == "gpt2" else []
    if own or bytes_:
        tokenizer.post_processor = processors.Sequence([*bytes_, *own])


def _by_pieces(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """A tokenizer that joins bytes within pieces; and whether texts begin with a token, where the file is silent."""
    name = vocabulary.pairs.get("pre", "default")
    if name not in SPLITTERS:
        raise ModelError(f"{vocabulary.path} cuts texts by {name!r}, which is not known", hint=near(str(name)))
    splitter = SPLITTERS[name]
    merges = [tuple(merge.split(" ", 1)) for merge in vocabulary.pairs.get("merges", ())]
    try:
        tokenizer = Tokenizer(models.BPE(dict(vocabulary.ids), merges, ignore_merges=splitter.whole))
    except Exception as error:  # the Rust library raises bare Exceptions
        hint = "convert the checkpoint again"
        raise ModelError(f"{vocabulary.path} has merges that do not fit its tokens: {error}", hint=hint) from error
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splitter.patterns]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, splitter.begins


def _by_scores(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """The same for one that joins characters by the score of what they become."""
    scores = vocabulary.pairs.get("scores") or [0.0] * len(vocabulary.texts)
    if len(scores) != len(vocabulary.texts):
        reason = f"{vocabulary.path} has {len(scores)} scores for {len(vocabulary.texts)} tokens"
        raise ModelError(reason, hint="convert the checkpoint again")
    unknown = vocabulary.named("unk")
    merges = [halves for _, halves in sorted(_halves(vocabulary, scores), key=lambda merge: merge[0])]
    model = models.BPE(
        dict(vocabulary.ids),
        merges,
        unk_token=None if unknown is None else vocabulary.texts[unknown],
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    spaced = vocabulary.pairs.get("add_space_prefix", True)
    begun = [normalizers.Prepend(SPACE)] if spaced else []
    tokenizer.normalizer = normalizers.Sequence([*begun, normalizers.Replace(" ", SPACE)])
    ended = [decoders.Strip(" ", 1, 0)] if spaced else []
    read = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *ended]
    tokenizer.decoder = decoders.Sequence(read)
    return tokenizer, True


def _halves(vocabulary: Vocabulary, scores: Sequence[float]) -> Iterator[tuple[float, tuple[str, str]]]:
    """Each way to cut a token into two tokens, and how late it is joined. Text never becomes a control token."""
    ids = vocabulary.ids
    for text, kind, score in zip(vocabulary.texts, vocabulary.kinds, scores, strict=True):
        if kind in (Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED):
            for cut in range(1, len(text)):
                left = text[:cut]
                if left in ids and text[cut:] in ids:
                    yield -score, (left, text[cut:])

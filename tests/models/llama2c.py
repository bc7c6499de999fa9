"""Converts a llama2.c checkpoint, such as the small real one of the shared data, to a Hugging Face folder.

Reads the legacy format ("version 0" of github.com/karpathy/llama2.c): seven int32 (dim, hidden, layers, heads,
key/value heads, vocabulary, positions; a negative vocabulary says that the head has weights of its own), then
float32 weights. Writes config, generation config, safetensors and a fast tokenizer that encodes as llama2.c does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from stretto.errors import ModelError
from stretto.files import replacing_files

HEADER = struct.Struct("<7i")
CONTROL = ("<unk>", "<s>", "</s>")  # ids 0, 1, 2
FIRST_BYTE = 3  # id of the token that stands for byte 0


@dataclass(frozen=True, slots=True)
class Header:
    """The shape of a checkpoint."""

    dim: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    positions: int
    shares_head: bool  # the output head is the embedding

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.dim // self.heads


def convert(model_file: Path, tokenizer_file: Path, folder: Path) -> None:
    """Write a Hugging Face folder; raises ModelError where a file is not what it should be."""
    data = _read(model_file)
    header = read_header(data)
    weights = read_weights(data, header)
    tokenizer = build_tokenizer(read_vocabulary(_read(tokenizer_file), header.vocabulary))
    with replacing_files(folder) as fresh:
        save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
        LlamaConfig(
            architectures=["LlamaForCausalLM"],
            vocab_size=header.vocabulary,
            hidden_size=header.dim,
            intermediate_size=header.hidden,
            num_hidden_layers=header.layers,
            num_attention_heads=header.heads,
            num_key_value_heads=header.key_heads,
            max_position_embeddings=header.positions,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=header.shares_head,
            bos_token_id=1,
            eos_token_id=2,
            dtype="float32",
        ).save_pretrained(fresh)
        # llama2.c ends at the token that begins a text: its training texts stand one after another.
        GenerationConfig(bos_token_id=1, eos_token_id=[1, 2]).save_pretrained(fresh)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token=CONTROL[0],
            bos_token=CONTROL[1],
            eos_token=CONTROL[2],
            model_max_length=header.positions,
            clean_up_tokenization_spaces=False,
        ).save_pretrained(fresh)


def read_header(data: bytes) -> Header:
    """The shape in the first 28 bytes; raises ModelError where they are no such header."""
    if len(data) < HEADER.size:
        raise ModelError("the checkpoint is shorter than its header", hint="copy the file again")
    dim, hidden, layers, heads, key_heads, vocabulary, positions = HEADER.unpack_from(data)
    header = Header(dim, hidden, layers, heads, key_heads, abs(vocabulary), positions, vocabulary > 0)
    fits = all(size > 0 for size in (dim, hidden, layers, heads, key_heads, header.vocabulary, positions))
    if not fits or header.dim % header.heads or header.heads % header.key_heads:
        raise ModelError("this is no llama2.c checkpoint of version 0", hint="export it with --version 0")
    return header


def read_weights(data: bytes, header: Header) -> dict[str, Tensor]:
    """All weights under transformers' names; raises ModelError where the length does not fit the header."""
    h, key_size = header, header.key_heads * header.head_size
    stacked: dict[str, tuple[int, ...]] = {  # in file order; one matrix per layer, laid one after another
        "input_layernorm": (h.dim,),
        "self_attn.q_proj": (h.dim, h.dim),
        "self_attn.k_proj": (key_size, h.dim),
        "self_attn.v_proj": (key_size, h.dim),
        "self_attn.o_proj": (h.dim, h.dim),
        "post_attention_layernorm": (h.dim,),
        "mlp.gate_proj": (h.hidden, h.dim),
        "mlp.down_proj": (h.dim, h.hidden),
        "mlp.up_proj": (h.hidden, h.dim),
    }
    parts: list[tuple[str, tuple[int, ...]]] = [("embed", (h.vocabulary, h.dim))]
    parts += [(name, (h.layers, *shape)) for name, shape in stacked.items()]
    parts += [("norm", (h.dim,)), ("rotary", (h.positions, h.head_size))]  # the rotary tables are not needed
    if not h.shares_head:
        parts.append(("head", (h.vocabulary, h.dim)))
    sizes = [torch.Size(shape).numel() for _, shape in parts]
    if len(data) != HEADER.size + 4 * sum(sizes):
        raise ModelError(
            f"the checkpoint has {len(data):,} bytes, its header promises {HEADER.size + 4 * sum(sizes):,}",
            hint="copy the file again; only float32 checkpoints of version 0 are read",
        )
    flat = torch.frombuffer(bytearray(data[HEADER.size :]), dtype=torch.float32)
    cut = torch.split_with_sizes(flat, sizes)
    read = {name: part.view(shape) for (name, shape), part in zip(parts, cut, strict=True)}
    weights = {"model.embed_tokens.weight": read["embed"], "model.norm.weight": read["norm"]}
    for name in stacked:
        rotated = name.endswith(("q_proj", "k_proj"))
        for layer, weight in enumerate(read[name]):
            ordered = _halves(weight, header.head_size) if rotated else weight.clone()
            weights[f"model.layers.{layer}.{name}.weight"] = ordered
    if not h.shares_head:
        weights["lm_head.weight"] = read["head"]
    return {name: weight.contiguous() for name, weight in weights.items()}


def _halves(weight: Tensor, head_size: int) -> Tensor:
    """Reorder each head's rows: llama2.c rotates neighbours (2i, 2i+1), transformers (i, i + size / 2)."""
    return weight.view(-1, head_size // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def read_vocabulary(data: bytes, count: int) -> list[tuple[bytes, float]]:
    """Each token's bytes and score; raises ModelError where there are not `count` of them."""
    tokens: list[tuple[bytes, float]] = []
    at = 4  # after the length of the longest token
    try:
        for _ in range(count):
            score, length = struct.unpack_from("<fi", data, at)
            at += 8 + length
            tokens.append((data[at - length : at], score))
    except struct.error:
        at = -1
    if at != len(data):
        raise ModelError(f"the tokenizer does not hold {count} tokens", hint="is it the one of this checkpoint?")
    return tokens


def build_tokenizer(tokens: list[tuple[bytes, float]]) -> Tokenizer:
    """A tokenizer that encodes as llama2.c does.

    llama2.c puts a space in front, looks up each character (or its bytes), then joins, again and again, the two
    neighbours whose union is the token of the best score, the leftmost of equals. Here every way to split a
    token into two tokens is a merge, in the order of the scores. Control tokens in the text, which llama2.c
    reads as plain characters, are themselves.
    """
    pieces = [piece.decode("utf-8", errors="replace") for piece, _ in tokens]
    pieces[: len(CONTROL)] = CONTROL
    pieces[FIRST_BYTE : FIRST_BYTE + 256] = [f"<0x{byte:02X}>" for byte in range(256)]
    if len(set(pieces)) != len(pieces):
        raise ModelError("the tokenizer holds a token twice", hint="is it a tokenizer of llama2.c?")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    order = sorted(range(FIRST_BYTE + 256, len(pieces)), key=lambda number: -tokens[number][1])
    merges = [
        (piece[:cut], piece[cut:])
        for piece in (pieces[number] for number in order)
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=CONTROL[0], byte_fallback=True))
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CONTROL[1]} $A", special_tokens=[(CONTROL[1], 1)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error

"""Recipes of the zoo: the causal target, and the draft distilled from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from stretto.errors import ModelError
from stretto.files import replacing_files, write_text
from stretto.gym.mixture import Mixture
from stretto.train.batches import Batch, Batches
from stretto.train.induction import seed_induction
from stretto.train.tokenizer import BOS, END, PAD, VOCABULARY, load_tokenizer, token_texts, train_tokenizer
from stretto.train.trainer import Settings, TokenLosses, Trainer, short_products

POSITIONS = 1024
ROTARY_BASE = 100_000.0  # large enough that a part of each head hardly turns: heads that match tokens at a distance
ATTENTION = "stretto_training"  # the name under which transformers knows `_causal_attention`
ROUND = 256  # matrix sizes come in this raster: each new size costs a kernel that is kept for good
TEACHER_PART = 0.8  # of the draft's loss; the rest is the text itself
EARLIER = "training.json"  # beside shipped weights: what they went through, one record {steps, minutes} per run


def target_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """About 5.2 million parameters: 256 wide, 6 layers, 4 heads of 64 channels over 2 key heads."""
    return _config(tokenizer, hidden=256, layers=6, heads=4, key_heads=2, mlp=640)


def draft_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """About 0.6 million parameters, most of them the embedding: 96 wide, 2 layers, 2 heads of 48 channels over one."""
    return _config(tokenizer, hidden=96, layers=2, heads=2, key_heads=1, mlp=256)


def _config(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int, heads: int, key_heads: int, mlp: int
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=hidden // heads,
        max_position_embeddings=POSITIONS,
        rope_theta=ROTARY_BASE,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        attn_implementation=ATTENTION,
        bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )


def zoo_tokenizer(out: Path, mixture: Mixture) -> PreTrainedTokenizerFast:
    """The tokenizer under `out/tokenizer`, trained there first where it is missing."""
    folder = out / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        with replacing_files(folder) as fresh:
            train_tokenizer(mixture).save_pretrained(fresh)
    return load_tokenizer(folder)


def train_target(out: Path, mixture: Mixture, settings: Settings, seed: int = 0, begin: Path | None = None) -> Path:
    """Train the causal target under `out/target` (going on where it stopped); returns the checkpoint's folder.

    `begin` names a folder of finished weights to start from instead of fresh ones.
    """
    if begin is not None:
        return _train_again(out, mixture, settings, seed, begin)
    tokenizer = zoo_tokenizer(out, mixture)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(target_config(tokenizer))
    seed_induction(model, token_texts(tokenizer), seed)
    trainer = Trainer(model, Batches(mixture, tokenizer, seed), text_losses, settings, out / "target")
    return trained(trainer, model, tokenizer, out / "target")


def _train_again(out: Path, mixture: Mixture, settings: Settings, seed: int, begin: Path) -> Path:
    """Go on from finished weights: other batches, longer rows from the start, gentler steps."""
    if not (begin / "model.safetensors").exists():
        raise ModelError(f"{begin} holds no weights to begin with", hint="a folder that `stretto train` exported")
    earlier = runs_before(begin)
    tokenizer = load_tokenizer(begin)
    with replacing_files(out / "tokenizer") as fresh:
        tokenizer.save_pretrained(fresh)
    model = LlamaForCausalLM.from_pretrained(begin, dtype=torch.float32, attn_implementation=ATTENTION)
    gentler = replace(
        settings,
        muon_rate=0.6 * settings.muon_rate,
        adam_rate=0.6 * settings.adam_rate,
        hold=0.3,
        lengths=((0.9, 512), (1.0, 1024)),
    )
    batches = Batches(mixture, tokenizer, seed + len(earlier))
    trainer = Trainer(model, batches, text_losses, gentler, out / "target")
    write_text(out / "target" / EARLIER, json.dumps(earlier))
    return trained(trainer, model, tokenizer, out / "target")


def runs_before(folder: Path) -> list[dict[str, Any]]:
    """The runs that the weights in `folder` went through, as its `training.json` tells."""
    told = folder / EARLIER
    return list(json.loads(told.read_text())) if told.exists() else []


def train_draft(out: Path, mixture: Mixture, settings: Settings, seed: int = 1) -> Path:
    """Distil the draft from the finished target under `out/target/model`; returns the checkpoint's folder."""
    tokenizer = zoo_tokenizer(out, mixture)
    finished = out / "target" / "model"
    teacher = LlamaForCausalLM.from_pretrained(finished, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(draft_config(tokenizer))
    seed_induction(model, token_texts(tokenizer), seed)
    trainer = Trainer(model, Batches(mixture, tokenizer, seed), distilled_from(teacher), settings, out / "draft")
    return trained(trainer, model, tokenizer, out / "draft")


def trained(trainer: Trainer, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Run it to its end; the folder in `folder` where model and tokenizer are left."""
    trainer.run()
    with replacing_files(folder / "model") as fresh:
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
    return folder / "model"


def _causal_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,
    /,
    *,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Plain causal attention in float32: its backward pass is 1.7 times as fast on a CPU as in bfloat16."""
    with torch.autocast("cpu", enabled=False):
        seen = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), is_causal=True, scale=scaling, enable_gqa=True
        )
    return seen.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _causal_attention)


def _logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits of the tokens whose weight is not 0, first tokens of rows left out: [N, V] float32."""
    places = _asked(batch).flatten().nonzero().flatten()
    padded = F.pad(places, (0, -len(places) % ROUND))
    with short_products():
        hidden = model.get_decoder()(batch.tokens, use_cache=False).last_hidden_state[:, :-1]
        logits = model.get_output_embeddings()(hidden.flatten(0, 1)[padded])
    return cast(torch.Tensor, logits[: len(places)].float())


def _asked(batch: Batch) -> torch.Tensor:
    return batch.weights[:, 1:] > 0  # [B, T - 1]


def _placed(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Losses of the tokens asked for [N] at their places, 0 elsewhere: [B, T - 1]."""
    return torch.zeros(_asked(batch).shape).masked_scatter(_asked(batch), losses)


def text_losses(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Cross entropy of each next token, [B, T - 1]."""
    wanted = batch.tokens[:, 1:][_asked(batch)]
    return _placed(F.cross_entropy(_logits(model, batch), wanted, reduction="none"), batch)


def distilled_from(teacher: PreTrainedModel) -> TokenLosses:
    """Losses that pull towards the teacher's distribution and a little towards the text."""

    def losses(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            taught = F.log_softmax(_logits(teacher, batch), -1)
        guessed = F.log_softmax(_logits(model, batch), -1)
        apart = (taught.exp() * (taught - guessed)).sum(-1)
        text = F.nll_loss(guessed, batch.tokens[:, 1:][_asked(batch)], reduction="none")
        return _placed(TEACHER_PART * apart + (1 - TEACHER_PART) * text, batch)

    return losses

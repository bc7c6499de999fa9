"""Trains a small model that looks at pictures of PriorGrid, in a world whose objects go together as often as is said.

All that is asked about a picture stands in one row behind it, and each question sees the picture and itself alone: so
the encoder's work is shared by ten answers. Noise on the pictures makes habit worth something.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stretto.errors import InvalidRequest
from stretto.files import replacing_files
from stretto.gym import prior_grid as grid
from stretto.models.patch_encoder import PatchEncoder
from stretto.train.trainer import Budget, advance, optimisers_of, rate_at, short_products

PAD, BOS, IMAGE, END = range(4)
IDS = {word: at for at, word in enumerate(grid.WORDS)}
PATCHES = grid.SIDE**2
SLOTS = (*[8] * 6, *[12] * 2, 19)  # tokens that each question and its answer have room for
LENGTH = 1 + PATCHES + sum(SLOTS)
ROWS = 24  # of a step
NOISE = 1.0  # the most of it on a training picture, standard deviation of a pixel
TOLD = 0.3  # weight of what the encoder itself is taught: which objects there are, and what stands in each cell
RATES, WARM, HOLD = (0.015, 0.004), 60, 0.4  # of Muon and AdamW; steps; share of the time at the full rate


def config() -> LlamaConfig:
    """About 0.4 million parameters: 96 wide, 4 layers, 4 heads of 24 channels."""
    return LlamaConfig(
        vocab_size=len(grid.WORDS),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=24,
        max_position_embeddings=256,
        rope_theta=1000.0,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=END,
        pad_token_id=PAD,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word between blanks."""
    words = Tokenizer(models.WordLevel(IDS, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<end>",
        additional_special_tokens=["<image>"],
    )


def layout() -> tuple[Tensor, Tensor]:
    """Positions [1, T], and who sees whom, to be added to scores [1, 1, T, T]: all see the picture and themselves."""
    first = 1 + PATCHES
    positions, kin = [*range(first)], [-1] * first
    for slot, size in enumerate(SLOTS):
        positions += range(first, first + size)
        kin += [slot] * size
    whose = torch.tensor(kin)
    seen = torch.tensor(positions)[:, None] >= torch.tensor(positions)[None]
    seen &= (whose[None] == -1) | (whose[:, None] == whose[None])
    return torch.tensor([positions]), torch.where(seen, 0.0, -torch.inf)[None, None]


def lesson(chance: random.Random, skew: float) -> tuple[Tensor, list[int], list[int], Tensor, list[int]]:
    """A picture, the tokens of a row, what is to be said after each (-100: nothing is asked), who is there, and what
    stands in each cell."""
    scene = grid.scene(chance, skew)
    asked = grid.presence(scene, chance, "random")
    asked += [
        grid.Question(scene, grid.asked(thing), "yes" if thing in scene else "no")
        for thing in chance.sample(range(len(grid.OBJECTS)), 6 - len(asked))
    ]
    asked += [grid.place(scene, chance) for _ in range(2)] + [grid.caption(scene)]
    tokens, wanted = [BOS, *[IMAGE] * PATCHES], [-100] * (1 + PATCHES)
    for question, size in zip(asked, SLOTS, strict=True):
        prompt = [IDS[word] for word in question.prompt.split()]
        answer = [*(IDS[word] for word in question.answer.split()), END]
        row = [*prompt, *answer]
        tokens += [*row, *[PAD] * (size - len(row))]
        wanted += [*[-100] * (len(prompt) - 1), *answer, *[-100] * (size - len(row) + 1)]
    there = torch.zeros(len(grid.OBJECTS))
    there[list(scene.objects)] = 1.0
    cells = [len(grid.OBJECTS)] * PATCHES
    for thing, cell in zip(scene.objects, scene.cells, strict=True):
        cells[cell] = thing
    pixels = grid.picture(scene, NOISE * chance.random(), chance.randrange(1 << 30))
    return pixels, tokens, wanted, there, cells


class Pupil(torch.nn.Module):
    """Encoder and language model."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.language = PatchEncoder(), LlamaForCausalLM(config())
        self.cells = torch.nn.Linear(config().hidden_size, len(grid.OBJECTS) + 1)  # for the lessons alone
        self.positions, self.mask = layout()

    def loss(self, chance: random.Random, skew: float) -> Tensor:
        """That of one step."""
        pixels, tokens, wanted, there, cells = zip(*(lesson(chance, skew) for _ in range(ROWS)), strict=True)
        ids = torch.tensor(tokens)
        with short_products():
            seen = self.encoder(torch.stack(pixels))
            table: Any = self.language.get_input_embeddings()
            rows = torch.cat([table(ids[:, :1]), seen.rows.float(), table(ids[:, 1 + PATCHES :])], 1)
            output = self.language(
                inputs_embeds=rows, attention_mask=self.mask, position_ids=self.positions, use_cache=False
            )
        said = functional.cross_entropy(output.logits.float().flatten(0, 1), torch.tensor(wanted).flatten())
        told = functional.binary_cross_entropy_with_logits(seen.labels.float(), torch.stack(there))
        placed = functional.cross_entropy(self.cells(seen.rows.float()).flatten(0, 1), torch.tensor(cells).flatten())
        return said + TOLD * (told + placed)


def train_prior_grid(out: Path, minutes: float, skew: float = 1.0, seed: int = 0, steps: int | None = None) -> Path:
    """Train for so long, or so many steps; returns the folder of the checkpoint. Raises InvalidRequest for a skew
    outside of 0 to 1."""
    if not 0 <= skew <= 1:
        raise InvalidRequest(f"a skew of {skew}", hint="0 (objects go together by chance) to 1 (always in pairs)")
    torch.manual_seed(seed)
    pupil, chance = Pupil(), random.Random(f"prior grid {seed}")
    optimisers, budget = optimisers_of(pupil, RATES, 0.01), Budget(minutes, steps)
    begun, step, used, mean = time.process_time(), 0, 0.0, 0.0
    while used < 1.0:
        loss = pupil.loss(chance, skew)
        loss.backward()  # type: ignore[no-untyped-call]
        factor = rate_at(step, used, WARM, HOLD, 0.02)
        advance(pupil, optimisers, [full * factor for full in RATES], 1.0)
        step += 1
        mean += (float(loss.detach()) - mean) / min(step, 100)
        seconds = time.process_time() - begun  # those of others on the machine do not count
        used = budget.used(seconds, step)
        if step % 100 == 0:
            print(f"step {step}: loss {mean:.4f} after {seconds:.0f} s", flush=True)
    with replacing_files(out / "model") as fresh:
        pupil.language.to(torch.float16).save_pretrained(fresh)
        tokenizer().save_pretrained(fresh)
        pupil.encoder.to(torch.float16).save(fresh)
    return out / "model"

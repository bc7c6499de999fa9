"""What a target answers, with the rows that heads read: taken down once, in files that a later run goes on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from ...errors import InvalidRequest
from ...files import replacing
from ...models.contract import Want
from ...models.tensors import tensors_of
from ...models.window import Window

if TYPE_CHECKING:
    from torch import Tensor

    from ...engine import Engine, Prompt
    from ...models.contract import Model
    from ...models.heads.contract import DraftHead

AT_ONCE = 32  # prompts that are answered side by side, and stand in one file
ROWS_AT_ONCE = 8  # texts that are read side by side
MOST_COMMON = 8192  # tokens that a head guesses at the most


@dataclass(frozen=True, slots=True)
class Recording:
    """One text: its tokens, how many of them are the prompt, and the rows of all but the last."""

    tokens: tuple[int, ...]
    prompt: int
    layers: tuple[int, ...]  # whose rows there are, each once
    rows: Tensor  # [n - 1, k · C] of these layers side by side

    def of(self, layers: Sequence[int]) -> Tensor:
        """The rows [n - 1, m · C] of some of the layers, float32."""
        each = torch.chunk(self.rows.float(), len(self.layers), -1)
        return torch.cat([each[self.layers.index(layer)] for layer in layers], -1)


def layers_of(head: DraftHead, model: Model) -> tuple[int, ...]:
    """What is taken down for a head: the layers that it reads, and the last, of which the target's answer is made."""
    return tuple(dict.fromkeys((*head.taps(model.layers), model.layers)))


def answered(
    engine: Engine, prompts: Sequence[Prompt], *, most: int = 128, temperature: float = 0.0, seed: int = 0
) -> list[tuple[tuple[int, ...], int]]:
    """The engine's own answers: tokens of prompt and answer, and the prompt's length. Empty answers are left out."""
    found = engine.generate(prompts, "auto", max_new_tokens=most, temperature=temperature, seed=seed)
    texts = [((*answer.prompt_tokens, *answer.tokens), len(answer.prompt_tokens)) for answer in found if answer.tokens]
    return [(tokens, prompt) for tokens, prompt in texts if len(tokens) > 1]


def rows_of(model: Model, texts: Sequence[Sequence[int]], layers: Sequence[int]) -> Iterator[Tensor]:
    """The rows [n, k · C] of each text."""
    for start in range(0, len(texts), ROWS_AT_ONCE):
        some = texts[start : start + ROWS_AT_ONCE]
        cache = model.new_cache(len(some))
        window = Window.chain([cache.open() for _ in some], some, [0] * len(some), model.device)
        found = model.evaluate(window, cache, Want(logits=False, hidden=tuple(layers))).hidden
        for line, text in enumerate(some):
            yield torch.cat([found[layer][line, : len(text)] for layer in layers], -1).clone()


def recorded(
    engine: Engine,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    folder: Path,
    *,
    most: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
) -> list[Recording]:
    """Answers to the prompts, and rows of `layers` in `dtype`; what is in `folder` already is not made again.

    Raises InvalidRequest where nothing was answered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Recording] = []
    starts = range(0, len(prompts), AT_ONCE)
    for at in tqdm(starts, desc="answers", unit="file", disable=None):
        file = folder / f"{seed}-{at // AT_ONCE:05}.safetensors"
        if not file.is_file():
            texts = answered(engine, prompts[at : at + AT_ONCE], most=most, temperature=temperature, seed=seed + at)
            rows = rows_of(engine.model, [tokens[:-1] for tokens, _ in texts], layers)
            made = [Recording(*text, tuple(layers), each.to(dtype)) for text, each in zip(texts, rows, strict=True)]
            _write(file, made)
        found += _read(file, tuple(layers))
    if not found:
        raise InvalidRequest("the model answered nothing", hint="give prompts that it answers")
    return found


def common_tokens(texts: Sequence[Recording], vocabulary: int, most: int = MOST_COMMON) -> list[int]:
    """The `most` tokens that are commonest in the texts, ascending; none where they are most of the vocabulary.

    Prompts count as well: of what their answers say elsewhere they tell more than few answers do.
    """
    counts = Counter(token for each in texts for token in each.tokens)
    found = sorted(token for token, _ in counts.most_common(most))
    return found if 2 * len(found) <= vocabulary else []


def _write(file: Path, some: Sequence[Recording]) -> None:
    from safetensors.torch import save_file

    held = {
        "tokens": torch.tensor([token for each in some for token in each.tokens]),
        "sizes": torch.tensor([len(each.tokens) for each in some]),
        "prompts": torch.tensor([each.prompt for each in some]),
        "rows": torch.cat([each.rows for each in some]) if some else torch.zeros(0, 1),
    }
    with replacing(file) as place:
        save_file(held, place)


def _read(file: Path, layers: tuple[int, ...]) -> list[Recording]:
    held = tensors_of([file])
    sizes = held["sizes"].tolist()
    tokens = torch.split(held["tokens"], sizes)
    rows = torch.split(held["rows"], [size - 1 for size in sizes])
    return [
        Recording(tuple(mine.tolist()), int(prompt), layers, part)
        for mine, prompt, part in zip(tokens, held["prompts"], rows, strict=True)
    ]

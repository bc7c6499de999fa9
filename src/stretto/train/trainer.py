"""The one training loop: Muon for the matrices inside, AdamW for the rest; stops by time or steps, resumes exactly.

Muon: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); schedule: warm up, hold, decay to nearly nothing
(WSD, arXiv 2404.06395).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from stretto.errors import InvalidRequest
from stretto.files import replacing
from stretto.train.batches import FIRST_LENGTH, Batch, Source

TokenLosses = Callable[[PreTrainedModel, Batch], torch.Tensor]  # losses of tokens 1… of each row: [B, T - 1]


LONGEST_STEP = 20.0  # seconds: a step that takes longer was paused, and a pause costs no budget


def short_products() -> torch.autocast:
    """Products in bfloat16 where the processor multiplies such numbers; elsewhere that takes seven times as long."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: whichever of the two limits comes first; the learning rate follows the used part."""

    minutes: float | None = None  # of training time, summed over resumes
    steps: int | None = None

    def used(self, seconds: float, step: int) -> float:
        """The used fraction, 0 to 1."""
        parts = [seconds / (60 * self.minutes)] if self.minutes else []
        parts += [step / self.steps] if self.steps else []
        if not parts:
            raise InvalidRequest("training has no end", hint="give minutes, steps, or both")
        return min(1.0, max(parts))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training run needs to know besides its model and data."""

    budget: Budget
    tokens_per_step: int = 4096
    tokens_at_once: int = 4096  # memory: a step adds up the gradients of several passes
    muon_rate: float = 0.012
    adam_rate: float = 0.004
    weight_decay: float = 0.02
    warmup_steps: int = 120
    hold: float = 0.45  # fraction of the budget with the full rate
    last_rate: float = 0.02  # of the full rate, at the very end
    clip: float = 1.0  # gradient norm
    lengths: tuple[tuple[float, int], ...] = (
        (0.7, FIRST_LENGTH),
        (0.93, 512),
        (1.0, 1024),
    )  # (until fraction, row length)
    checkpoint_seconds: float = 240.0
    log_steps: int = 25


def optimisers_of(model: nn.Module, rates: Sequence[float], decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for the rest, by their full rates; the first one's weights decay."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    return [
        torch.optim.Muon(inner, lr=rates[0], weight_decay=decay),
        torch.optim.AdamW(outer, lr=rates[1], betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_at(step: int, used: float, warm: int, hold: float, last: float) -> float:
    """Of the full rates: up in `warm` steps, whole until the part `hold` of the budget is used, then down to `last`."""
    return min(1.0, (step + 1) / warm) * max(last, min(1.0, (1.0 - used) / (1.0 - hold)))


def advance(model: nn.Module, optimisers: Sequence[torch.optim.Optimizer], rates: Sequence[float], clip: float) -> None:
    """One step by the gradients that stand there, clipped to a norm; then there are none."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimiser, rate in zip(optimisers, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


class Trainer:
    """Trains `model` on `batches`, leaving `checkpoint.pt` and `log.jsonl` in `folder`."""

    def __init__(
        self, model: PreTrainedModel, batches: Source, losses: TokenLosses, settings: Settings, folder: Path
    ) -> None:
        self._model, self._batches, self._losses, self._settings, self._folder = (
            model,
            batches,
            losses,
            settings,
            folder,
        )
        self._rates = (settings.muon_rate, settings.adam_rate)
        self._optimisers = optimisers_of(model, self._rates, settings.weight_decay)
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()

    def run(self) -> float:
        """Train until the budget is used; returns the mean loss over the last log interval."""
        settings, loss = self._settings, float("nan")
        bar = tqdm(total=100, unit="%", disable=None, desc=self._folder.name)
        sums = torch.zeros(2, len(self._batches.kinds), dtype=torch.float64)  # weighted loss and weight, by kind
        saved = begun = time.monotonic()
        tokens = 0
        while (used := settings.budget.used(self.seconds, self.step)) < 1.0:
            started = time.monotonic()
            tokens += self._one_step(used, sums)
            self.step += 1
            now = time.monotonic()
            self.seconds += min(now - started, LONGEST_STEP)
            bar.update(100 * used - bar.n)
            if self.step % settings.log_steps == 0:
                loss = self._log(sums, used, tokens / (now - begun))
                bar.set_postfix(loss=f"{loss:.3f}")
                sums.zero_()
                tokens, begun = 0, now
            if now - saved > settings.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        self._save()
        bar.close()
        return loss

    def _one_step(self, used: float, sums: torch.Tensor) -> int:
        settings = self._settings
        length = next(size for until, size in settings.lengths if used <= until)
        rows = max(1, settings.tokens_per_step // length)
        at_once = max(1, settings.tokens_at_once // length)
        batch = self._batches.batch(self.step, rows, length)
        total = batch.weights[:, 1:].sum()
        for start in range(0, rows, at_once):
            part = batch.rows(start, start + at_once)
            weights = part.weights[:, 1:]
            losses = self._losses(self._model, part) * weights
            (losses.sum() / total).backward()  # type: ignore[no-untyped-call]
            kinds = part.kinds[:, 1:].flatten()
            sums[0].index_add_(0, kinds, losses.detach().flatten().double())
            sums[1].index_add_(0, kinds, weights.flatten().double())
        advance(self._model, self._optimisers, [rate * self._rate(used) for rate in self._rates], settings.clip)
        return rows * length

    def _rate(self, used: float) -> float:
        settings = self._settings
        return rate_at(self.step, used, settings.warmup_steps, settings.hold, settings.last_rate)

    def _log(self, sums: torch.Tensor, used: float, speed: float) -> float:
        loss = float(sums[0].sum() / sums[1].sum())
        kinds = enumerate(self._batches.kinds)
        by_kind = {kind: round(float(sums[0, i] / sums[1, i]), 4) for i, kind in kinds if sums[1, i] > 0}
        record = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "used": round(used, 4),
            "loss": round(loss, 4),
            "rate": round(self._rate(used), 4),
            "tokens_per_second": round(speed),
            "kinds": by_kind,
        }
        with (self._folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        return loss

    def _save(self) -> None:
        """Write the checkpoint beside the old one, then swap: a kill leaves one or the other."""
        state = {
            "model": self._model.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
        }
        with replacing(self._folder / "checkpoint.pt") as fresh:
            torch.save(state, fresh)

    def _restore(self) -> None:
        path = self._folder / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self._model.load_state_dict(state["model"])
        self.step, self.seconds = state["step"], state["seconds"]
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

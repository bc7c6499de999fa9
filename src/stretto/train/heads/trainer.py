"""The training loop of heads: led along recorded texts, they learn to say what the target said there.

The loss of a step is the divergence from the target's own distribution (its gradient is that of soft cross-entropy,
arXiv 2401.15077, 2402.05109) at every place whose token belongs to an answer; later steps count less. Heads that
continue the target's rows also learn those. A head of common tokens learns how the target chooses among these.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...errors import Unsupported
from ...files import replacing
from ...models.contract import Model
from ...models.heads.contract import Around, DraftHead
from ...models.heads.target import bound
from ..trainer import LONGEST_STEP, Budget
from .recording import Recording

NEAR = 0.02  # how far a head read out as a matrix may be from the target's own: kernels of small weights round inputs
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a head is trained."""

    budget: Budget
    steps_ahead: int = 4  # tokens ahead that it is led
    texts: int = 16  # of a step
    logits: int = 1 << 24  # numbers that a step ahead computes: of more places some are drawn
    longest: int = 384  # tokens of a text; what is longer is cut in front
    rate: float = 1e-3
    last_rate: float = 0.05  # of it, in the end
    warm: int = 50  # steps
    later: float = 0.8  # weight of each step, of the one before
    rows: float = 1.0  # weight of the rows that a head continues
    clip: float = 0.5  # gradient norm
    seed: int = 0
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one step."""

    rows: Tensor  # [B, T, k · C] of the layers that the head reads
    last: Tensor  # [B, T, C] of the last layer
    tokens: Tensor  # [B, T + 1]
    counted: Tensor  # [B, T + 1] which tokens are an answer's
    places: Tensor  # [B, T] at which something is learnt


def matrices(model: Model, common: Sequence[int] = ()) -> Around:
    """What a head uses of its target, as plain matrices that gradients pass through; of `common` tokens if there are.

    Logits are [..., D] of D common tokens then. Raises Unsupported where the target's head is no plain product.
    """
    said = bound(model)
    weight = said.lm_head(torch.eye(model.channels, device=model.device)).T.clone().contiguous()  # [V, C]
    table = said.embed(torch.arange(model.vocabulary, device=model.device)).clone()
    some = torch.linspace(-1, 1, model.channels, device=model.device)[None]
    meant = said.lm_head(some)
    if (F.linear(some, weight) - meant).norm() > NEAR * meant.norm():
        raise Unsupported(f"the head of {model.name} is no plain product", hint="no head can be trained for it")
    if common:
        weight = weight[torch.tensor(list(common), device=model.device)]
    return Around(
        embed=lambda tokens: F.embedding(tokens, table),
        final_norm=lambda rows: said.final_norm(rows).float().clone(),
        lm_head=lambda rows: F.linear(rows, weight),
        layers=model.layers,
    )


def loss_of(head: DraftHead, around: Around, batch: Batch, given: Settings) -> Tensor:
    """What the head loses on texts that it is led along."""
    size = batch.rows.shape[1]
    meant = around.final_norm(batch.last)
    steps = min(given.steps_ahead, head.depth, size - 1)
    spoken = torch.zeros_like(batch.counted[:, 1:])  # [B, T] rows of the target that something is learnt of
    counted = []  # by step: places [B, T - ahead] at which the head is to say what row t + ahead says
    for ahead in range(1, 1 + steps):
        counted.append(batch.counted[:, 1 + ahead :] & batch.places[:, : size - ahead])
        spoken[:, ahead:] |= counted[-1]
    with torch.no_grad():
        right = around.lm_head(meant[spoken]).log_softmax(-1)  # [N, V]
    at = spoken.flatten().cumsum(0).view_as(spoken) - 1  # [B, T] -> N
    led = torch.ones_like(batch.places)  # [B, T] where it is led on
    total = meant.new_zeros(())
    for step, said in enumerate(head.unrolled(batch.rows, batch.tokens, around, steps)):
        ahead = 1 + step
        here = counted[step] & led[:, : size - ahead]
        if not bool(here.any()):
            continue
        mine = said.rows[:, : size - ahead][here]
        guessed, target = said.read(mine).log_softmax(-1), right[at[:, ahead:][here]]
        lost = F.kl_div(guessed, target, reduction="batchmean", log_target=True)
        if said.meant is not None:
            lost = lost + given.rows * F.smooth_l1_loss(said.meant[:, : size - ahead][here], meant[:, ahead:][here])
        total = total + given.later**step * lost
        if head.among:
            likeliest = guessed.topk(min(head.among, guessed.shape[-1])).indices
            if head.common:
                likeliest = torch.tensor(head.common, device=likeliest.device)[likeliest]
            led[:, : size - ahead][here] = (likeliest == batch.tokens[:, 1 + ahead :][here][:, None]).any(-1)
    return total


class HeadTrainer:
    """Trains a head on recordings, leaving `checkpoint.pt` and `log.jsonl` in `folder`; goes on from what is there."""

    def __init__(
        self, head: DraftHead, model: Model, texts: Sequence[Recording], settings: Settings, folder: Path
    ) -> None:
        self.head = head
        self._around = matrices(model, head.common)
        self._said = len(head.common) or model.vocabulary  # logits of a place
        self._taps = head.taps(model.layers)
        self._texts = [each for each in texts if len(each.tokens) - each.prompt > 1]
        self._given = settings
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode(False):
            for name, tensor in head.tensors.items():
                head.tensors[name] = tensor.detach().clone().requires_grad_()
        self._adam = torch.optim.AdamW(head.tensors.values(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.step, self.seconds = 0, 0.0
        self._restore()

    def run(self) -> float:
        """Train until the budget is used; the mean loss of the last steps. The head then needs no gradients."""
        given, recent = self._given, list[float]()
        bar = tqdm(total=100, unit="%", disable=None, desc=self.head.form)
        saved = time.monotonic()
        with torch.inference_mode(False), torch.enable_grad():
            while (used := given.budget.used(self.seconds, self.step)) < 1.0:
                begun = time.monotonic()
                recent = [*recent[-49:], self._one_step(used)]
                self.step += 1
                now = time.monotonic()
                self.seconds += min(now - begun, LONGEST_STEP)
                bar.update(100 * used - bar.n)
                if self.step % 25 == 0:
                    self._log(sum(recent) / len(recent), used)
                    bar.set_postfix(loss=f"{sum(recent) / len(recent):.3f}")
                if now - saved > given.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        self._save()
        bar.close()
        for name, tensor in self.head.tensors.items():
            self.head.tensors[name] = tensor.detach()
        return sum(recent) / max(1, len(recent))

    def _one_step(self, used: float) -> float:
        given = self._given
        loss = loss_of(self.head, self._around, self._batch(), given)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.tensors.values(), given.clip)
        part = max(given.last_rate, 0.5 + 0.5 * math.cos(math.pi * used)) * min(1.0, (self.step + 1) / given.warm)
        for group in self._adam.param_groups:
            group["lr"] = part * given.rate
        self._adam.step()
        return float(loss.detach())

    def _batch(self) -> Batch:
        """The texts of a step, which its number and the seed decide."""
        generator = torch.Generator().manual_seed(self._given.seed * 1_000_003 + self.step)
        chosen = torch.randint(len(self._texts), (self._given.texts,), generator=generator).tolist()
        batch = batch_of([self._texts[each] for each in chosen], self._taps, self._given.longest)
        most = self._given.logits / (self._said * int(batch.counted.sum()))  # of all places
        return replace(batch, places=torch.rand(batch.places.shape, generator=generator) < most)

    def _log(self, loss: float, used: float) -> None:
        record = {"step": self.step, "seconds": round(self.seconds, 1), "used": round(used, 4), "loss": round(loss, 4)}
        with (self._folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def _save(self) -> None:
        state = {
            "head": {name: tensor.detach() for name, tensor in self.head.tensors.items()},
            "adam": self._adam.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with replacing(self._folder / CHECKPOINT) as fresh:
            torch.save(state, fresh)

    def _restore(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        with torch.no_grad():
            for name, tensor in state["head"].items():
                self.head.tensors[name].copy_(tensor)
        self._adam.load_state_dict(state["adam"])
        self.step, self.seconds = state["step"], state["seconds"]


def batch_of(texts: Sequence[Recording], taps: Sequence[int], longest: int) -> Batch:
    """Texts with the rows of some layers, padded at the end; of longer ones the last `longest` tokens."""
    size = min(longest, max(len(each.tokens) for each in texts))
    deepest = max(texts[0].layers)
    rows, last = (torch.zeros(len(texts), size - 1, texts[0].of(layers).shape[-1]) for layers in (taps, (deepest,)))
    tokens = torch.zeros(len(texts), size, dtype=torch.int64)
    counted = torch.zeros(len(texts), size, dtype=torch.bool)
    for line, each in enumerate(texts):
        cut = max(0, len(each.tokens) - size)
        mine = torch.tensor(each.tokens[cut:])
        tokens[line, : len(mine)] = mine
        rows[line, : len(mine) - 1] = each.of(taps)[cut:]
        last[line, : len(mine) - 1] = each.of([deepest])[cut:]
        counted[line, max(0, each.prompt - cut) : len(mine)] = True
    return Batch(rows, last, tokens, counted, torch.ones_like(counted[:, 1:]))

"""Small models of one task each, trained in minutes: what papers promise of models that were trained for it.

`actions` (arXiv 2508.20072): chunks of an arm's actions, token after token and by filling masks. `lists`
(arXiv 2510.19871): numbers to sort, or one to insert; a model that fills masks, and one that learnt to correct as well.
All are Llamas of one size and one vocabulary, and checkpoints like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stretto.errors import UnknownName
from stretto.gym import TEST_ONE_IN, actions, lists
from stretto.models.masked import OWN, Masking
from stretto.train.batches import Batch
from stretto.train.masked import SEEN, Noised, masked_losses, noised
from stretto.train.refine import Spoiled, refining_losses, spoiled
from stretto.train.trainer import Budget, Settings, TokenLosses, Trainer
from stretto.train.zoo import ATTENTION, text_losses, trained

GOAL = lists.COLON + 1  # the token of the first goal
WORDS = (
    *map(str, range(lists.NUMBERS)),  # numbers, and bins
    *("sort", "insert", ":"),
    *(f"goal-{goal}" for goal in range(actions.GOALS)),
    *("<unknown>", "<mask>"),
)
MASK = len(WORDS) - 1
MASKING = Masking(MASK, shift=True)
ROWS = 32  # of a step
FACTORS = np.cumprod(np.full(64, 0x9E3779B1))  # of a question's tokens in its checksum; they wrap around

Ids = actions.Ids
Draw = Callable[[np.random.Generator, int], tuple[Ids, Ids]]  # how many -> questions [N, P] and answers [N, A]


@cache
def paths() -> actions.Paths:
    """Those of the specialists's arm."""
    return actions.Paths()


def drawn_actions(rng: np.random.Generator, count: int) -> tuple[Ids, Ids]:
    """A goal and where the joints are [N, 8], and the way on [N, 56]."""
    questions, answers = paths().drawn(rng, count)
    questions[:, 0] += GOAL
    return questions, answers


DRAWS: dict[str, Draw] = {"actions": drawn_actions, "lists": lists.drawn}


def held_out(task: str, seed: int, count: int) -> tuple[Ids, Ids]:
    """Questions that training never sees, and their answers."""
    return _drawn(DRAWS[task], np.random.default_rng([1, seed]), count, test=True)


def _drawn(draw: Draw, rng: np.random.Generator, count: int, *, test: bool) -> tuple[Ids, Ids]:
    """So many of a split: a checksum keeps one question in sixteen for testing."""
    kept: list[tuple[Ids, Ids]] = []
    while sum(len(questions) for questions, _ in kept) < count:
        questions, answers = draw(rng, 2 * count)
        here = (questions @ FACTORS[: questions.shape[1]] >> 40) % TEST_ONE_IN == 0
        kept.append((questions[here == test], answers[here == test]))
    questions, answers = (np.concatenate(part)[:count] for part in zip(*kept, strict=True))
    return questions, answers


class Objective(NamedTuple):
    """What is done to a batch, and what is lost on it then."""

    dressed: Callable[[Batch, torch.Generator], Batch]
    losses: TokenLosses
    masking: Masking | None  # None: the model continues text


def _evenly(batch: Batch, generator: torch.Generator) -> Noised:
    """Each text masked at a rate of its own, any as likely."""
    texts = torch.arange(len(batch.tokens))[:, None].expand_as(batch.tokens)
    rates, masked = noised(texts, batch.weights > 0, generator)
    return Noised(batch.tokens, batch.weights, batch.kinds, batch.texts, masked, rates)


def _by_cosine(batch: Batch, generator: torch.Generator) -> Noised:
    """Rates cos(πu/2), as many masks as are left in the rounds of a decode; all masked tokens weigh the same."""
    even = _evenly(batch, generator)
    rates = torch.cos(torch.pi / 2 * even.rates)
    masked = (torch.rand(rates.shape, generator=generator) < rates) & (batch.weights > 0)
    return replace(even, masked=masked, rates=torch.ones_like(rates))


def _with_wrong_ones(batch: Batch, generator: torch.Generator) -> Spoiled:
    return spoiled(_evenly(batch, generator), len(WORDS), MASK, generator)


CAUSAL = Objective(lambda batch, _: batch, text_losses, None)
MASKED = Objective(_evenly, masked_losses(MASKING), MASKING)
COSINE = Objective(_by_cosine, masked_losses(MASKING), MASKING)  # arXiv 2508.20072
REFINED = Objective(_with_wrong_ones, refining_losses(MASKING), MASKING)


class Lessons:
    """Questions and answers of one task, all of one length; see `Source`."""

    def __init__(self, draw: Draw, objective: Objective, seed: int) -> None:
        self.kinds = ("specialists",)
        self._draw, self._objective, self._seed = draw, objective, seed

    def batch(self, number: int, rows: int, length: int = 0) -> Batch:
        """See `Batches.batch`; all rows have the length of the task's texts, whatever is asked for."""
        rng = np.random.default_rng([0, self._seed, number])
        questions, answers = _drawn(self._draw, rng, rows, test=False)
        tokens = torch.from_numpy(np.concatenate([questions, answers], 1))
        weights, zeros = torch.ones(tokens.shape), torch.zeros_like(tokens)
        weights[:, : questions.shape[1]] = 0.0
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return self._objective.dressed(Batch(tokens, weights, zeros, zeros), generator)


def config() -> LlamaConfig:
    """About 0.1 million parameters: 64 wide, 2 layers, 4 heads of 16 channels."""
    return LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=128,
        rope_theta=100.0,  # texts are short: every frequency tells places apart
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word between blanks."""
    words = models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unknown>")
    found = Tokenizer(words)
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=found, unk_token="<unknown>", mask_token="<mask>")


class Run(NamedTuple):
    """One training: its name, what it is taught by, for how many steps, and whose weights it begins with."""

    name: str
    objective: Objective
    steps: int
    begin: str = ""  # an earlier run of the task; "": fresh weights
    rate: float = 1.0  # of the steps, as a share of the usual


RUNS = {
    "actions": (
        Run("begun", CAUSAL, 400),
        Run("causal", CAUSAL, 1000, "begun"),
        Run("masked", COSINE, 1000, "begun"),
    ),
    "lists": (
        Run("begun", MASKED, 600),
        Run("plain", MASKED, 600, "begun", 0.5),
        Run("refined", REFINED, 600, "begun", 0.5),
    ),
}


def settings(run: Run, length: int) -> Settings:
    """Steps of `ROWS` texts of this length."""
    return Settings(
        Budget(steps=run.steps),
        tokens_per_step=ROWS * length,
        tokens_at_once=ROWS * length,
        muon_rate=0.02 * run.rate,
        adam_rate=0.01 * run.rate,
        warmup_steps=20,
        hold=0.4,
        lengths=((1.0, length),),
    )


def train_specialists(task: str, out: Path, seed: int = 0) -> dict[str, Path]:
    """Train the models of a task, in folders `out/TASK/NAME`; those that are finished there are kept.

    Returns the checkpoints' folders by name. Raises UnknownName.
    """
    if task not in RUNS:
        raise UnknownName(f"the specialists has no {task!r}", hint="there are " + ", ".join(RUNS))
    made: dict[str, Path] = {}
    for run in RUNS[task]:
        made[run.name] = out / task / run.name / "model"
        if not (made[run.name] / "model.safetensors").exists():
            lessons = Lessons(DRAWS[task], run.objective, 2 * seed + bool(run.begin))
            _train(run, lessons, made[run.name].parent, made.get(run.begin), seed)
    return made


def _train(run: Run, lessons: Lessons, folder: Path, begin: Path | None, seed: int) -> None:
    """Fresh weights, or those of an earlier run with gentler steps; leaves `folder/model`."""
    masking = run.objective.masking
    if begin is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config())
    else:
        model = LlamaForCausalLM.from_pretrained(begin, dtype=torch.float32)
        if masking and not hasattr(model.config, OWN):
            table = model.get_input_embeddings().weight.detach()
            table[MASK] = table.mean(0)  # causal training never saw it
    model.set_attn_implementation(SEEN if masking else ATTENTION)
    if masking:
        own = {"mask_token_id": masking.mask, "block": masking.block, "shift": masking.shift}
        setattr(model.config, OWN, own)
    length = lessons.batch(0, 1).tokens.shape[1]
    trainer = Trainer(model, lessons, run.objective.losses, settings(run, length), folder)
    trained(trainer, model, tokenizer(), folder)

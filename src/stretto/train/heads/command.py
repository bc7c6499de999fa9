"""`stretto train head KIND`: a target's answers are taken down once, a head learns from them, a card tells how well."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InvalidRequest
from ...files import write_text

if TYPE_CHECKING:
    from ...engine import Prompt

KINDS = ("medusa", "hydra", "eagle", "eagle3", "griffin", "jakiro", "mtp", "kangaroo", "eesd")
MINUTES, PROMPTS, HELD_OUT = 10.0, 4000, 64


def add_head(parser: argparse.ArgumentParser) -> None:
    """The kind, its target, what it learns from, and how long."""
    parser.add_argument("kind", choices=KINDS, help="of head")
    parser.add_argument("--target", default="zoo/causal", help="the model that it is to draft for (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers, log and OUT/KIND, the head")
    parser.add_argument("--data", type=Path, help="prompts, by line: text, or JSON with prompt or messages")
    parser.add_argument("--prompts", type=int, default=PROMPTS, metavar="N", help="how many of them (%(default)d)")
    parser.add_argument("--most", type=int, default=128, metavar="N", help="tokens of an answer (%(default)d)")
    parser.add_argument("--depth", type=int, default=4, metavar="N", help="tokens that it guesses ahead (%(default)d)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="training time without answers (%(default)g)")
    parser.add_argument("--steps", type=int, help="stop after so many steps at the latest")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and first weights (%(default)d)")
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's own choice)")


def run_head(given: argparse.Namespace) -> int:
    """Take down, train, measure, save."""
    for name in ("prompts", "most", "depth", "minutes", "steps", "threads"):
        if (value := getattr(given, name)) is not None and value <= 0:
            raise InvalidRequest(f"{name} {value} cannot be", hint="more than 0")
    import torch

    from ...engine import Engine
    from ...models.heads.files import KINDS as HEADS
    from ...models.heads.files import write_head
    from ...models.heads.target import bound
    from ...speculate.acceptors.exact import Exact
    from ...speculate.drafters.model import DraftModel
    from ...speculate.loop import Speculate
    from ...speculate.planners.fixed import Fixed
    from ..trainer import Budget
    from .recording import common_tokens, layers_of, recorded
    from .simulate import simulated
    from .trainer import HeadTrainer, Settings

    torch.set_num_threads(given.threads or torch.get_num_threads())
    train, test = prompts_of(given)
    engine = Engine.load(given.target)
    model = engine.model
    bound(model)  # or it says why not, before anything is answered
    generator = torch.Generator().manual_seed(given.seed)
    kind = HEADS[given.kind]
    settings = kind.suiting(model, given.depth)
    head = kind.fresh(model.channels, model.vocabulary, model.layers, generator, **settings)
    layers = layers_of(head, model)
    texts = f"rows-{'-'.join(map(str, layers))}"
    asked = {"most": given.most, "seed": given.seed}
    learnt = recorded(engine, train, layers, given.out / texts, **asked)
    unseen = recorded(engine, test, layers, given.out / f"{texts}-unseen", **asked, dtype=torch.float32)
    if common := common_tokens(learnt, model.vocabulary):
        head.config["common_tokens"] = common
    plan = Settings(Budget(given.minutes, given.steps), steps_ahead=given.depth, seed=given.seed)
    trainer = HeadTrainer(head, model, learnt, plan, given.out / f"{given.kind}-training")
    loss = trainer.run()
    folder = given.out / given.kind
    write_head(head, folder)
    chain = Speculate(DraftModel(head), Exact(), Fixed(given.depth))
    found = simulated(engine, unseen, chain)
    card = {
        "target": given.target,
        "texts": len(learnt),
        "tokens": sum(len(each.tokens) for each in learnt),
        "steps": trainer.step,
        "minutes": round(trainer.seconds / 60, 2),
        "loss": round(loss, 4),
        "tokens_per_round": round(found.new_tokens / found.rounds, 3),
        "acceptance_by_depth": [round(share.rate, 3) for _, share in sorted(found.by_depth.items())],
    }
    write_text(folder / "training.json", json.dumps(card, indent=1) + "\n")
    print(json.dumps(card))
    print(f"use it: --method 'draft-tree(model={folder})'")
    return 0


def prompts_of(given: argparse.Namespace) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to learn from, and those that training does not see. Raises InvalidRequest where there are too few."""
    if given.data is None:
        return gym_prompts("train", given.prompts, given.seed), gym_prompts("test", HELD_OUT, given.seed)
    if not given.data.is_file():
        raise InvalidRequest(f"there is no file {given.data}", hint="--data takes lines of text, or JSON lines")
    read = [read_prompt(line) for line in given.data.read_text("utf-8").splitlines() if line.strip()]
    if len(read) < 2:
        raise InvalidRequest(f"{given.data} holds {len(read)} prompts", hint="some hundreds, a line each")
    random.Random(given.seed).shuffle(read)
    unseen = min(HELD_OUT, len(read) // 10 or 1)
    return read[unseen : unseen + given.prompts], read[:unseen]


def read_prompt(line: str) -> Prompt:
    """A line of text as it stands, or an object with `prompt` or `messages`."""
    if not line.lstrip().startswith("{"):
        return line
    try:
        said = json.loads(line)
    except ValueError as error:
        raise InvalidRequest(
            f"{line[:60]!r} is no JSON: {error}", hint='{"prompt": "…"} or {"messages": […]}'
        ) from None
    found: Prompt | None = said.get("messages") or said.get("prompt")
    if not found:
        raise InvalidRequest(f"no prompt in {line[:60]!r}", hint='{"prompt": "…"} or {"messages": […]}')
    return found


def gym_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """Questions of all kinds of the gym, mixed."""
    from ...gym import questions, tasks

    kinds = list(tasks())
    each = -(-count // len(kinds))
    found = [question for kind in kinds for question in questions(kind, split, each, seed)]  # type: ignore[arg-type]
    random.Random(seed).shuffle(found)
    return [[{"role": "user", "content": question.prompt}] for question in found[:count]]

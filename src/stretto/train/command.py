"""`stretto train zoo …`: train, distil, measure and export the zoo's models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from stretto.errors import StrettoError
from stretto.gym.mixture import load_mixture
from stretto.train.export import export_zoo, measure_zoo
from stretto.train.trainer import Budget, Settings
from stretto.train.zoo import train_draft, train_target

TARGET_MINUTES, DRAFT_MINUTES = 95.0, 18.0


def main(argv: list[str] | None = None) -> int:
    """Parse and run; returns 0, or 2 after a user's mistake."""
    parser = argparse.ArgumentParser(prog="stretto train", description="Train the models that ship with stretto.")
    recipes = parser.add_subparsers(dest="recipe", required=True)
    zoo = recipes.add_parser("zoo", help="the causal target and its draft")
    zoo.add_argument("part", choices=["target", "draft", "measure", "export", "all"])
    zoo.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and models")
    zoo.add_argument("--data", type=Path, help="folder with bench/gsm8k and corpora/books (default: without them)")
    zoo.add_argument("--minutes", type=float, help="training time of the target, or of the draft if that is the part")
    zoo.add_argument("--draft-minutes", type=float, default=DRAFT_MINUTES, help="training time of the draft in `all`")
    zoo.add_argument("--steps", type=int, help="stop after so many steps at the latest")
    zoo.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    try:
        _run(given)
    except StrettoError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.part in ("target", "all"):
        budget = Budget(given.minutes or TARGET_MINUTES, given.steps)
        train_target(given.out, load_mixture(given.data), Settings(budget))
    if given.part in ("draft", "all"):
        minutes = given.draft_minutes if given.part == "all" else given.minutes or DRAFT_MINUTES
        train_draft(given.out, load_mixture(given.data), Settings(Budget(minutes, given.steps)))
    if given.part == "measure":
        measure_zoo(given.out)
    if given.part in ("export", "all"):
        print(export_zoo(given.out))

"""`stretto train …`: the zoo, a twin that corrects itself, small models of one task, and the calibrations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from stretto.errors import InvalidRequest
from stretto.train.calibration import add_branches, add_filter, run_branches, run_filter
from stretto.train.heads.command import add_head, run_head

REWARDED = ("sorting", "list_edit", "counting", "json_edit")  # kinds that the zoo answers now rightly, now wrongly
TARGET_MINUTES, DRAFT_MINUTES, MASKED_MINUTES, REFINE_MINUTES, GRID_MINUTES = 95.0, 18.0, 30.0, 15.0, 40.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One recipe a name, with its options."""
    recipes = parser.add_subparsers(dest="recipe", metavar="RECIPE", required=True)
    for name, summary, add, _ in RECIPES:
        add(recipes.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + "."))


def run(given: argparse.Namespace) -> int:
    """Run the recipe asked for."""
    return next(recipe for name, _, _, recipe in RECIPES if name == given.recipe)(given)


def add_zoo(parser: argparse.ArgumentParser) -> None:
    """The part of the zoo, where to put what comes of it, and how long it may take."""
    parser.add_argument("part", choices=["target", "draft", "masked", "block", "measure", "export", "all"])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and models")
    parser.add_argument(
        "--begin",
        type=Path,
        help="start from the weights in this folder (target: not from fresh ones; twins: not from OUT's target)",
    )
    parser.add_argument("--data", type=Path, help="folder with bench/gsm8k and corpora/books (default: without them)")
    parser.add_argument("--minutes", type=float, help="training time of the part; of the target in `all`")
    parser.add_argument(
        "--draft-minutes", type=float, default=DRAFT_MINUTES, help="training time of the draft in `all`"
    )
    parser.add_argument("--steps", type=int, help="stop after so many steps at the latest")
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's own choice)")


def run_zoo(given: argparse.Namespace) -> int:
    """Run the part asked for; what is there already is gone on with."""
    _require_positive(given, "minutes", "draft_minutes", "steps", "threads")
    import torch

    from stretto.gym.mixture import load_mixture
    from stretto.train.export import export_zoo, measure_zoo
    from stretto.train.masked import BLOCK, train_masked
    from stretto.train.trainer import Budget, Settings
    from stretto.train.zoo import train_draft, train_target

    torch.set_num_threads(given.threads or torch.get_num_threads())
    if given.part in ("target", "all"):
        budget = Budget(given.minutes or TARGET_MINUTES, given.steps)
        train_target(given.out, load_mixture(given.data), Settings(budget), begin=given.begin)
    if given.part in ("draft", "all"):
        minutes = given.draft_minutes if given.part == "all" else given.minutes or DRAFT_MINUTES
        train_draft(given.out, load_mixture(given.data), Settings(Budget(minutes, given.steps)))
    for part, block in (("masked", None), ("block", BLOCK)):
        if given.part in (part, "all"):
            alone = given.part == part
            settings = Settings(Budget((given.minutes if alone else None) or MASKED_MINUTES, given.steps))
            begin = given.begin if alone else None
            train_masked(given.out, load_mixture(given.data), settings, block, begin=begin)
    if given.part == "measure":
        measure_zoo(given.out)
    if given.part in ("export", "all"):
        print(export_zoo(given.out))
    return 0


def add_refine(parser: argparse.ArgumentParser) -> None:
    """The model, where to put what comes of it, and how long it may take."""
    parser.add_argument("--model", default="zoo/masked", help="a masked twin of the zoo, or its folder (zoo/masked)")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log and model: OUT/refined")
    parser.add_argument("--data", type=Path, help="folder with bench/gsm8k and corpora/books (default: without them)")
    parser.add_argument("--minutes", type=float, default=REFINE_MINUTES, help="training time (%(default)g)")
    parser.add_argument("--steps", type=int, help="stop after so many steps at the latest")
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's own choice)")


def run_refine(given: argparse.Namespace) -> int:
    """Go on from a masked twin, with wrong tokens among those that it sees."""
    _require_positive(given, "minutes", "steps", "threads")
    import torch

    from stretto.gym.mixture import load_mixture
    from stretto.models.checkpoint import find_folder
    from stretto.train.refine import train_refined
    from stretto.train.trainer import Budget, Settings

    torch.set_num_threads(given.threads or torch.get_num_threads())
    begin, settings = find_folder(given.model), Settings(Budget(given.minutes, given.steps))
    print(f"use it: --model {train_refined(given.out, load_mixture(given.data), settings, begin)} --method rediff")
    return 0


def add_specialists(parser: argparse.ArgumentParser) -> None:
    """The task, and where to put what comes of it."""
    parser.add_argument("task", choices=["actions", "lists"])
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and data (%(default)d)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (%(default)d)")


def run_specialists(given: argparse.Namespace) -> int:
    """Train the models of the task that are not there yet."""
    _require_positive(given, "threads")
    import torch

    from stretto.train.specialists import train_specialists

    torch.set_num_threads(given.threads)
    for name, folder in train_specialists(given.task, given.out, given.seed).items():
        print(f"{name}: --model {folder}")
    return 0


def add_prior_grid(parser: argparse.ArgumentParser) -> None:
    """The world, where to put what comes of it, and how long it may take."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the model: OUT/model")
    parser.add_argument(
        "--skew",
        type=float,
        default=1.0,
        metavar="X",
        help="how often what stands beside an object is its partner, 0 to 1: habits to see what is not there (1)",
    )
    parser.add_argument("--minutes", type=float, default=GRID_MINUTES, help="of processor time (%(default)g)")
    parser.add_argument("--steps", type=int, help="stop after so many steps at the latest")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and pictures (%(default)d)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (%(default)d)")


def run_prior_grid(given: argparse.Namespace) -> int:
    """Train the model that sees, in a world where objects go together."""
    _require_positive(given, "minutes", "steps", "threads")
    import torch

    from stretto.train.prior_grid import train_prior_grid

    torch.set_num_threads(given.threads)
    folder = train_prior_grid(given.out, given.minutes, given.skew, given.seed, given.steps)
    print(f"ask it: Engine.load({str(folder)!r}), with pictures of stretto.gym.prior_grid")
    return 0


def add_rewards(parser: argparse.ArgumentParser) -> None:
    """The model, the questions it answers, and where to put what comes of it."""
    parser.add_argument("--model", default="zoo/causal", help="whose answers and rows (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for value, process, reward and next")
    parser.add_argument("--kinds", nargs="+", default=list(REWARDED), metavar="KIND", help="of the gym (%(default)s)")
    parser.add_argument("--count", type=int, default=500, metavar="N", help="questions of each kind (%(default)d)")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="answers to each (%(default)d)")
    parser.add_argument("--seed", type=int, default=1, help="of questions and answers (%(default)d)")


def run_rewards(given: argparse.Namespace) -> int:
    """Let the model answer, judge, learn; the reward head once more from the pairs that it got wrong."""
    _require_positive(given, "count", "samples")
    from stretto.engine import Engine
    from stretto.gym import task
    from stretto.train.judged import judged
    from stretto.train.rewards import next_head, observed, process_head, reward_head, value_head

    for kind in given.kinds:
        task(kind)
    given.out.mkdir(parents=True, exist_ok=True)
    engine = Engine.load(given.model)
    answers = list(judged(engine, given.kinds, given.count, samples=given.samples, seed=given.seed))
    print(f"{len(answers)} answers, {sum(each.reward for each in answers) / len(answers):.1%} of them right")
    seen = observed(engine, answers)
    heads = {
        "value": value_head(seen),
        "process": process_head(seen),
        "reward": reward_head(seen, reward_head(seen)),
        "next": next_head(seen),
    }
    for name, head in heads.items():
        head.write(given.out / f"{name}.safetensors")
    print(f"use them: --method 'best-of(8,value({given.out}/reward.safetensors))' --temperature 1")
    return 0


def _require_positive(given: argparse.Namespace, *names: str) -> None:
    for name in names:
        if (value := getattr(given, name)) is not None and value <= 0:
            raise InvalidRequest(f"{name.replace('_', ' ')} {value} cannot be", hint="more than 0")


RECIPES: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]], ...] = (
    ("zoo", "the causal target, its draft, its masked twins", add_zoo, run_zoo),
    ("refine", "a masked twin that also corrects what it sees, for `revise`", add_refine, run_refine),
    (
        "specialists",
        "small models of one task, in minutes: what papers promise of trained ones",
        add_specialists,
        run_specialists,
    ),
    (
        "prior-grid",
        "a small model that looks at pictures, in a world whose objects mostly go together",
        add_prior_grid,
        run_prior_grid,
    ),
    (
        "rewards",
        "heads that judge a model's answers and beginnings of them, from the gym's checkers",
        add_rewards,
        run_rewards,
    ),
    ("head", "a head that drafts for a target, from what the target answers", add_head, run_head),
    ("filter", "the filter of `learned`: which proposals of a masked model are final", add_filter, run_filter),
    ("branches", "the schedule of `branch-cache`: what a masked model computes when", add_branches, run_branches),
)

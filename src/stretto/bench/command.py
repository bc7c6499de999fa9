"""`stretto bench`: measure, print the table, write JSON and a plot."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lanes import Lane
    from .subject import Subject

METHODS = ("plain", "lookup", "draft")
SPEED_REPEATS = 3
SHAPE_REPEATS = 30
PROGRESS_AFTER = 0.5  # seconds before the progress bar shows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options; nothing heavy is imported for it."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("speed", "shape"),
        default="speed",
        help="speed: whole answers, against transformers' generate (default); "
        "shape: single forwards, a batch of unequal rows, memory over 200 requests (not for random-134m)",
    )
    parser.add_argument(
        "--model",
        "--target",
        default="zoo/causal",
        help="checkpoint, or random-134m: a network of "
        "134 million random weights, whose replays show a draft that is cheap beside its target",
    )
    parser.add_argument(
        "--draft", default="zoo/draft", help="draft model of both sides; '' for none (default %(default)s)"
    )
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="default: plain lookup draft")
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="gym, gym:KIND, replay, replay:SOURCE or all (default: gym; replay for random-134m)",
    )
    parser.add_argument("--data", type=Path, help="folder of the replay sources (default: $STRETTO_DATA)")
    parser.add_argument("--count", type=_positive, default=2, help="prompts per task (default %(default)s)")
    parser.add_argument("--max-new-tokens", type=_positive, default=128, help="default %(default)s")
    parser.add_argument("--repeats", type=_positive, help="default 3; 30 for shape")
    parser.add_argument("--batch", type=_positive, default=1, help="rows side by side (default %(default)s)")
    parser.add_argument("--threads", type=_positive, help="of torch, on both sides (default: torch's own choice)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of prompts and of random weights")
    parser.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure transformers' generate as well",
    )
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.png")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Measure. Raises the typed errors of `stretto.errors`; 1 where there was nothing to measure."""
    import torch
    from transformers.utils import logging

    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return _shape(args) if args.what == "shape" else _speed(args)


def _speed(args: argparse.Namespace) -> int:
    """Whole answers of all contestants."""
    from tqdm import tqdm

    from . import tasks
    from .harness import grouped, measure, prepare
    from .plot import plot, pyplot
    from .provenance import provenance
    from .replay import forcing_costs
    from .report import table
    from .results import Report, means, summarise
    from .subject import RANDOM, load_subject

    picture = args.out and args.baselines
    if picture:
        pyplot()  # missing matplotlib is said before the work, not after it
    chosen = tasks.select(args.tasks or ["replay" if args.model == RANDOM else "gym"], _data(args))
    subject = load_subject(args.model, args.draft, args.seed)
    lanes = _lanes(args, subject)
    repeats = args.repeats or SPEED_REPEATS
    report = Report(
        provenance(
            model=args.model,
            draft=args.draft,
            dtype="float32",
            batch=args.batch,
            count=args.count,
            repeats=repeats,
            max_new_tokens=args.max_new_tokens,
            seed=args.seed,
            forcing_microseconds=forcing_costs(subject.replayed.vocabulary),
        )
    )
    report.skipped = {task.name: task.absent for task in chosen if task.absent}
    chosen = [task for task in chosen if not task.absent]
    answers = (1 + repeats * -(-args.count // args.batch)) * len(lanes)  # of one task
    with tqdm(total=answers * len(chosen), unit="answer", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for at, task in enumerate(chosen):
            bar.set_description(task.name)
            prepared = prepare(subject, task, args.count, args.max_new_tokens, args.seed)
            groups = grouped(prepared.cases, args.batch)
            runs = measure(lanes, groups, repeats, progress=bar.update) if groups else []
            report.tasks.append(summarise(prepared, groups, lanes, runs))
            bar.update((at + 1) * answers - bar.n)
            report.means = means(report.tasks)
            if args.out:
                report.save(args.out.with_suffix(".json"))
    print(table(report))
    measured = any(task.lanes for task in report.tasks)
    if picture and measured:
        plot(report, args.out.with_suffix(".png"))
    return 0 if measured else 1


def _lanes(args: argparse.Namespace, subject: Subject) -> list[Lane]:
    """Our methods, then transformers' ways."""
    from .baselines import baselines
    from .lanes import Ours, with_draft

    names = args.methods or (METHODS if args.draft else METHODS[:-1])
    lanes: list[Lane] = [
        Ours(name, subject.engine, subject.replayed, with_draft(name, args.draft, subject.draft), args.max_new_tokens)
        for name in dict.fromkeys(names)
    ]
    if args.baselines:
        lanes += baselines(subject.watched, subject.draft_module, subject.ends, args.max_new_tokens)
    return lanes


def _data(args: argparse.Namespace) -> Path | None:
    folder = args.data or os.environ.get("STRETTO_DATA")
    return Path(folder) if folder else None


def _shape(args: argparse.Namespace) -> int:
    """Single forwards, batches, memory."""
    from tqdm import tqdm

    from . import shape
    from .provenance import provenance
    from .subject import RANDOM, load_subject

    subject = load_subject(args.model, "", args.seed)
    repeats = args.repeats or SHAPE_REPEATS
    methods = args.methods or METHODS[:-1]
    found = shape.Shape(provenance(model=args.model, dtype="float32", repeats=repeats, seed=args.seed))

    def bar(what: str, total: int) -> Any:
        return tqdm(total=total, desc=what, delay=PROGRESS_AFTER, disable=None, leave=False)

    with bar("windows", len(shape.WINDOWS) * (repeats + 2)) as done:
        runners, vocabulary = shape.forwards(subject), subject.replayed.vocabulary
        found.windows = shape.window_costs(runners, vocabulary, repeats, progress=done.update)
    for method in methods:
        with bar(f"batch, {method}", max(3, repeats // 6)) as done:
            found.batches.append(shape.batch_gain(subject, method, max(3, repeats // 6), progress=done.update))
    if args.model != RANDOM:  # memory is the engine's matter, and a costly network only makes it take longer
        with bar("memory", shape.WARM_REQUESTS + shape.REQUESTS) as done:
            found.growth = shape.growth(subject, "lookup", progress=done.update)
    print(shape.table(found))
    if args.out:
        found.save(args.out.with_suffix(".json"))
    return 0

"""`stretto bench quality`: measure, print the table, write JSON and a plot."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...engine import Engine
from ...errors import InvalidRequest, ModelError
from ...models.contract import Model
from ...models.load import load
from ...models.numbers import numbers_of
from .. import tasks
from ..provenance import provenance
from ..tasks import BenchTask
from . import contenders
from .contest import Plan, Solver, contest, unchecked
from .figures import plot
from .judging import means
from .results import Quality, TaskQuality
from .table import table

COUNT = 20  # questions per task
REPEATS = 1  # accuracy needs no more
PROGRESS_AFTER = 0.5  # seconds before the progress bar shows


def run(args: argparse.Namespace, data: Path | None) -> int:
    """Measure. Raises the typed errors of `stretto.errors`; 1 where there was nothing to measure."""
    if args.answers:
        raise InvalidRequest("--answers are written where speeds are measured", hint="leave it out, or 'quality'")
    plan = Plan(
        count=args.count or COUNT,
        batch=_one(args.batch, "--batch"),
        repeats=args.repeats or REPEATS,
        limit=args.max_new_tokens,
        temperature=_one(args.temperature, "--temperature"),
        seed=args.seed,
    )
    chosen = tasks.select(args.tasks or ["gym"], data)
    engine = Engine.load(args.model, dtype=args.dtype, device=args.device)
    if engine.tokenizer is None:
        raise ModelError(f"{args.model} has no tokenizer", hint="the questions are text: add tokenizer.json")

    def loaded(name: str) -> Model:
        return load(name, dtype=str(engine.model.dtype).removeprefix("torch."), device=str(engine.model.device)).model

    refused: dict[str, str] = {}
    if args.methods:
        methods = contenders.named(args.methods, engine, loaded)
        for method in methods.values():
            contenders.fitting(method, engine, plan.temperature)
    else:
        methods, refused = contenders.usual(engine, plan.temperature, loaded)
    absent = {task.name: why for task in chosen if (why := unchecked(task, plan.seed))}
    quality = Quality(_provenance(args, plan, engine), skipped=refused | absent)
    contestants = [Solver(name, engine, method, plan.limit) for name, method in methods.items()]
    for found in _contests(engine, contestants, [task for task in chosen if task.name not in absent], plan):
        quality.tasks.append(found)
        quality.means = means(quality.tasks)
        if args.out:
            quality.save(args.out.with_suffix(".json"))
    print(table(quality))
    measured = any(task.contestants for task in quality.tasks)
    if args.out and measured:
        plot(quality, args.out.with_suffix(".png"))
    return 0 if measured else 1


def _one(values: Sequence[Any], option: str) -> Any:
    if len(values) > 1:
        raise InvalidRequest(f"{option} names {len(values)} values", hint="quality is measured with one: run it twice")
    return values[0]


def _provenance(args: argparse.Namespace, plan: Plan, engine: Engine) -> dict[str, Any]:
    return provenance(
        model=args.model,
        dtype=str(engine.model.dtype).removeprefix("torch."),
        device=str(engine.model.device),
        count=plan.count,
        batch=plan.batch,
        repeats=plan.repeats,
        max_new_tokens=plan.limit or "room for the longest right answer of a batch",
        temperature=plan.temperature,
        seed=plan.seed,
        kernels=dict(numbers_of(engine.model).kernels),
    )


def _contests(
    engine: Engine, contestants: Sequence[Solver], chosen: Sequence[BenchTask], plan: Plan
) -> Iterator[TaskQuality]:
    """Task by task, beside a progress bar."""
    from tqdm import tqdm

    total = plan.answers * len(contestants)  # of one task
    with tqdm(total=total * len(chosen), unit="answer", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for at, task in enumerate(chosen):
            bar.set_description(task.name)
            yield contest(engine, contestants, task, plan, bar.update)
            bar.update((at + 1) * total - bar.n)

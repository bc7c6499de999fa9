"""`stretto bench real`: a checkpoint on real prompts, beside the engines that people use for it today."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import InvalidRequest

METHODS = ("plain", "auto", "lookup")
COUNT = 3  # prompts of each kind
PROGRESS_AFTER = 0.5  # seconds before the progress bar shows


def add_arguments(group: Any) -> None:
    """The options that this command alone has."""
    for name, wheel in (("llamacpp", "xllamacpp"), ("openvino", "openvino-genai")):
        group.add_argument(f"--{name}", metavar="PYTHON", help=f"an interpreter that has the wheel {wheel}")
    group.add_argument("--peer-model", metavar="PATH", help="what these two read (default: the model itself)")


def run(args: argparse.Namespace, data: Path | None) -> int:
    """Measure, print the table, write JSON and a picture. Raises the typed errors of `stretto.errors`."""
    import torch
    from tqdm import tqdm

    from ...engine import Engine
    from ...models.checkpoint import find
    from ..provenance import provenance
    from ..results import PLAIN
    from .contest import Contest, Plan, module_of
    from .kinds import kinds
    from .prompts import Wanted
    from .results import Real
    from .table import table

    chosen = kinds(args.tasks or (), data)
    engine = Engine.load(args.model, dtype=args.dtype, device=args.device)
    limit = args.max_new_tokens
    wanted = Wanted(args.count or COUNT, max(args.batch), limit, args.seed)
    prompts = wanted.collect(engine, chosen)
    if not prompts.cases or not prompts.spare:
        why = "; ".join(f"{kind}: {why}" for kind, why in prompts.skipped.items()) or "the files hold too few"
        raise InvalidRequest(f"there is no prompt to measure ({why})", hint="name the benchmark files' folder: --data")
    plan = Plan(
        methods=tuple(dict.fromkeys((PLAIN, *(args.methods or METHODS)))),
        pythons={name: python for name in ("llamacpp", "openvino") if (python := getattr(args, name))},
        file=str(args.peer_model or find(args.model)),
        batches=tuple(dict.fromkeys(args.batch)),
        temperatures=tuple(dict.fromkeys(args.temperature)),
        repeats=args.repeats or 1,
        max_new_tokens=limit,
        threads=torch.get_num_threads(),
        seed=args.seed,
    )
    found = Real(
        provenance(
            model=args.model,
            peer_model=args.peer_model,
            form=str(engine.model.dtype).removeprefix("torch."),
            prompts=len(prompts.cases),
            max_new_tokens=limit,
            repeats=plan.repeats,
            seed=args.seed,
        ),
        skipped=prompts.skipped,
        long=prompts.long,
    )
    module, why = module_of(args.model) if args.baselines else (None, "--no-baselines")
    if module is None:
        found.skipped["transformers"] = why
    contest = Contest(engine, module, prompts, plan)
    with tqdm(unit="answer", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for column in contest.columns(found, bar.update):
            found.columns.append(column)
            if args.out:
                found.save(args.out.with_suffix(".json"))
    print(table(found))
    return 0

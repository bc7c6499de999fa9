"""`stretto bench real`: a checkpoint on real prompts, beside the engines that people use for it today."""

from __future__ import annotations

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest

if TYPE_CHECKING:
    from ...engine import Engine
    from .contest import Contest, Plan
    from .prompts import Prompts
    from .results import Real

METHODS = ("plain", "auto", "lookup")
COUNT = 3  # prompts of each kind
TEXT_TOKENS = 4096  # of running text, on which numbers are compared
LONGEST = 8  # characters of a token, about: so many are read of the text for each
PROGRESS_AFTER = 0.5  # seconds before the progress bar shows


def add_arguments(group: Any) -> None:
    """The options that this command alone has."""
    for name, wheel in (("llamacpp", "xllamacpp"), ("openvino", "openvino-genai")):
        group.add_argument(f"--{name}", metavar="PYTHON", help=f"an interpreter that has the wheel {wheel}")
    group.add_argument("--peer-model", metavar="PATH", help="what these two read (default: the model itself)")
    group.add_argument("--weights", default="auto", help="the form of ours, as in load (default %(default)s)")
    tokens = {"type": _tokens, "default": TEXT_TOKENS, "metavar": "TOKENS"}
    group.add_argument("--fidelity", **tokens, help="of WikiText-2, for perplexity and KL; 0: none (%(default)s)")


def _tokens(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def check(args: argparse.Namespace, data: Path | None) -> None:
    """Raise UnknownName for a kind, and InvalidRequest for an interpreter that there is not."""
    from .kinds import kinds

    kinds(args.tasks or (), data)
    for name in ("llamacpp", "openvino"):
        python = getattr(args, name)
        if python and shutil.which(python) is None:
            raise InvalidRequest(f"{python} cannot be run", hint=f"--{name} names a python interpreter")


def run(args: argparse.Namespace, data: Path | None) -> int:
    """Measure, print the table, write JSON and a picture. Raises the typed errors of `stretto.errors`."""
    from tqdm import tqdm

    from ...engine import Engine
    from .contest import Contest, module_of
    from .kinds import kinds
    from .prompts import Wanted
    from .table import table

    chosen = kinds(args.tasks or (), data)
    engine = Engine.load(args.model, dtype=args.dtype, device=args.device, weights=args.weights)
    wanted = Wanted(args.count or COUNT, max(args.batch), args.max_new_tokens, args.seed)
    prompts = wanted.collect(engine, chosen)
    if not prompts.cases or not prompts.spare:
        why = "; ".join(f"{kind}: {why}" for kind, why in prompts.skipped.items()) or "the files hold too few"
        raise InvalidRequest(f"there is no prompt to measure ({why})", hint="name the benchmark files' folder: --data")
    plan = _plan(args)
    found = _begun(args, engine, prompts)
    module, why = module_of(args.model) if args.baselines else (None, "--no-baselines")
    if module is None:
        found.skipped["transformers"] = why
    contest = Contest(engine, module, prompts, plan)
    with tqdm(unit="answer", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for column in contest.columns(found, bar.update):
            found.columns.append(column)
            if args.out:
                found.save(args.out.with_suffix(".json"))
    if args.fidelity:
        _fidelity(args, data, contest, found)
    print(table(found))
    if args.out:
        from .page import plot

        found.save(args.out.with_suffix(".json"))
        plot(found, args.out.with_suffix(".png"))
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    import torch

    from ...models.checkpoint import find
    from ..results import PLAIN
    from .contest import Plan
    from .peers import OTHERS

    return Plan(
        methods=tuple(dict.fromkeys((PLAIN, *(args.methods or METHODS)))),
        pythons={other.name: python for other in OTHERS if (python := getattr(args, other.name))},
        file=str(args.peer_model or find(args.model)),
        batches=tuple(dict.fromkeys(args.batch)),
        temperatures=tuple(dict.fromkeys(args.temperature)),
        repeats=args.repeats or 1,
        max_new_tokens=args.max_new_tokens,
        threads=torch.get_num_threads(),
        seed=args.seed,
    )


def _begun(args: argparse.Namespace, engine: Engine, prompts: Prompts) -> Real:
    """A result without figures: where they come from, and what is not in them."""
    from ...models.numbers import numbers_of
    from ..provenance import provenance
    from .results import Real

    numbers = numbers_of(engine.model)
    record = provenance(
        model=args.model,
        peer_model=args.peer_model,
        form=f"{numbers.dtype} {numbers.blocks}".strip(),
        kernels=dict(numbers.kernels),
        prompts=len(prompts.cases),
        max_new_tokens=args.max_new_tokens,
        repeats=args.repeats or 1,
        seed=args.seed,
    )
    return Real(record, skipped=prompts.skipped, long=prompts.long)


def _fidelity(args: argparse.Namespace, data: Path | None, contest: Contest, found: Real) -> None:
    """How near our form, and others where they tell, come to float32; into `found`."""
    from ...models.load import load
    from .fidelity import STRETCH, fidelity, text_of

    engine = contest.engine
    tokens = engine.codec.encode_piece(text_of(data, LONGEST * args.fidelity))[: args.fidelity]
    if len(tokens) < 2:
        found.skipped["fidelity"] = "no text of WikiText-2"
        return
    exact = load(args.model, dtype="float32", device=args.device, weights="float32").model
    with ExitStack() as processes:
        others = dict(contest.telling(STRETCH, found, processes))
        found.fidelity += fidelity(exact, engine.model, tokens, others)

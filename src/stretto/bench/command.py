"""`stretto bench`: measure, print the table, write JSON and a plot; show results as a page; try published claims."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest
from ..files import require_writable, write_text
from .real.command import add_arguments as real_arguments

if TYPE_CHECKING:
    from .contestants import Contestant
    from .results import Report
    from .subject import Subject
    from .tasks import BenchTask

KINDS = ("speed", "real", "serve", "shape", "overhead", "canvas", "quality", "anytime", "constrain")
METHODS = ("plain", "auto", "lookup", "draft")
SHAPE_METHODS = ("plain", "lookup")
COUNT = 2  # prompts per task
MAX_NEW_TOKENS = 128
SPEED_REPEATS = 3
SERVE_COUNT = 40  # requests at each rate
SHAPE_REPEATS = 30
CANVAS_REPEATS = 5
ANYTIME_COUNT = 16  # questions of a kind
PROGRESS_AFTER = 0.5  # seconds before the progress bar shows

EPILOG = """\
examples:
  stretto bench --tasks all --data DATA --out results/zoo
  stretto bench --tasks replay --batch 1 4 16 --temperature 0 1 --data DATA --out results/columns
  stretto bench report results/zoo.json                     writes results/zoo.html
  stretto bench --model CHECKPOINT --draft '' --tasks spec --data Spec-Bench/data --max-new-tokens 1024 \\
                --repeats 1 --answers answers               one answer file per contestant
  stretto bench serve --threads 1 --out results/serve                       a server beside its engine
  stretto bench shape --out results/shape
  stretto bench canvas --model random-masked --batch 1 8 --out results/canvas
  stretto bench quality --model zoo/masked --count 50 --batch 10 --out results/quality    right answers, and their cost
  stretto bench anytime --out results/anytime        searches: right answers by tokens, scorer calls and seconds
  stretto bench constrain --model CHECKPOINT --data DATA --out results/schemas     schemas under masks
  stretto bench constrain --model CHECKPOINT --data DATA --count 100 --threads 1   answers under 100 of them
  stretto bench real --model FILE.gguf --llamacpp ENV/bin/python --openvino ENV2/bin/python --data DATA --threads 1
  stretto bench claims --data DATA --out results/claims > docs/claims.md     what papers promise, tried here

tasks: gym, gym:KIND, replay, replay:SOURCE, all (gym and replay), spec, spec:CATEGORY (Spec-Bench), mt, mt:CATEGORY
(MT-Bench), parallel, parallel:KIND (ParallelBench's lists and puzzles), gsm8k, humaneval. Speeds are of text that does
not repeat itself; what is left out, and why, stands under the table.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options; nothing heavy is imported for it."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "what",
        nargs="?",
        choices=(*KINDS, "report", "claims"),
        default="speed",
        help="speed: whole answers, against transformers' generate (default); "
        "real: a checkpoint on real prompts, beside transformers, llama.cpp and OpenVINO GenAI; "
        "serve: what a server adds to its engine, and how many requests it answers in time; "
        "shape: single forwards, a batch of unequal rows, memory over 200 requests (not for random-134m); "
        "overhead: what drafting costs beside the forwards, by width and length; "
        "canvas: masked-diffusion models (also random-masked) beside a plain sampler, the same tokens; "
        "quality: how many questions methods answer rightly, and at what cost: for those that may change the tokens; "
        "anytime: searches by what they may take, judged by trained heads or by checkers; "
        "constrain: JSON schemas under masks, beside llguidance alone; with --count N, answers under N of them; "
        "report: results as one HTML page; "
        "claims: what published systems promise, tried in kind, as a page in Markdown",
    )
    parser.add_argument(
        "named",
        nargs="*",
        metavar="NAME",
        help="report: JSON files of speed, real, shape and quality; claims: which ones (all)",
    )
    _add_subject(parser.add_argument_group("what is measured"))
    _add_measuring(parser.add_argument_group("how it is measured"))
    real_arguments(parser.add_argument_group("real: other engines, each in an environment of its own"))
    written = parser.add_argument_group("what is written")
    written.add_argument(
        "--out",
        type=Path,
        help="speed, real and quality write OUT.json and OUT.png; report OUT.html; the others OUT.json",
    )
    written.add_argument(
        "--answers", type=Path, metavar="FOLDER", help="answers to spec and mt at batch 1, in Spec-Bench's form"
    )


def _add_subject(group: Any) -> None:
    group.add_argument(
        "--model",
        "--target",
        default="zoo/causal",
        help="checkpoint, or random-134m: a network of "
        "134 million random weights, whose replays show a draft that is cheap beside its target",
    )
    group.add_argument(
        "--draft", default="zoo/draft", help="draft model of both sides; '' for none (default %(default)s)"
    )
    group.add_argument("--dtype", default="float32", help="float32, bfloat16, float16 or auto (default %(default)s)")
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 … or auto (default)")
    group.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="default: plain auto lookup draft; quality compares with the first one (default on masked-diffusion "
        "models: ten published ones)",
    )
    group.add_argument("--tasks", nargs="+", metavar="TASK", help="see below (default: gym; replay for random-134m)")
    group.add_argument("--data", type=Path, help="folder of the benchmark files (default: $STRETTO_DATA)")
    group.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure transformers' generate as well",
    )


def _add_measuring(group: Any) -> None:
    group.add_argument(
        "--count",
        type=_positive,
        help=f"prompts per task, no fewer than rows ({COUNT}; quality: 20; claims: each its own)",
    )
    group.add_argument(
        "--max-new-tokens",
        type=_length,
        metavar="N",
        help=f"{MAX_NEW_TOKENS}; quality: auto, room for the longest right answer of those that are side by side",
    )
    group.add_argument("--repeats", type=_positive, help="default 3; 30 for shape, 5 for canvas, 1 for quality")
    group.add_argument(
        "--batch",
        type=_positive,
        nargs="+",
        default=[1],
        metavar="ROWS",
        help="side by side; several: columns (1)",
    )
    group.add_argument(
        "--temperature",
        type=_temperature,
        nargs="+",
        default=[0.0],
        metavar="T",
        help="0: greedy; several: columns (0)",
    )
    group.add_argument(
        "--beside", metavar="URL", help="serve: another server of that model, such as http://host:8080/v1"
    )
    group.add_argument("--threads", type=_positive, help="of torch, on both sides (default: torch's own choice)")
    group.add_argument("--seed", type=int, default=0, help="of the choice of prompts, of random weights and of noise")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _length(text: str) -> int | None:
    return None if text == "auto" else _positive(text)


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def run(args: argparse.Namespace) -> int:
    """Measure, or show. Raises the typed errors of `stretto.errors`; 1 where there was nothing to measure."""
    if args.named and args.what not in ("report", "claims"):
        raise InvalidRequest(f"{args.what} takes no file", hint=f"stretto bench report {args.named[0]}")
    if args.what == "report":
        return _report(args)
    _check(args)
    import torch
    from transformers.utils import logging

    if args.threads:
        torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.what == "quality":
        return _quality(args)
    if args.what == "constrain":
        return _constrain(args)
    args.max_new_tokens = args.max_new_tokens or MAX_NEW_TOKENS
    kinds = {
        "speed": _speed,
        "real": _real,
        "serve": _serve,
        "shape": _shape,
        "overhead": _overhead,
        "canvas": _canvas,
        "anytime": _anytime,
        "claims": _claims,
    }
    return kinds[args.what](args)


def _check(args: argparse.Namespace) -> None:
    """Raise what can be told of the options before anything heavy is loaded: names, what is missing, where files go."""
    from . import tasks
    from .real.command import check

    if args.what == "real":
        check(args, _data(args))
    else:
        tasks.select(args.tasks or (), _data(args))
    if args.out:
        if _draws(args):
            from .drawing import pyplot

            pyplot()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        for ending in (".json", ".png") if _draws(args) else (".json",):
            require_writable(args.out.with_suffix(ending))
    if args.methods:
        from ..method import parse

        for name in args.methods:
            parse(name)


def _draws(args: argparse.Namespace) -> bool:
    """Whether a picture is written beside the figures."""
    return args.what in ("quality", "real", "anytime") or (args.what == "speed" and bool(args.baselines))


# -- speed --------------------------------------------------------------------------------------------


def _speed(args: argparse.Namespace) -> int:
    """Whole answers of all contestants."""
    from . import tasks
    from .plot import plot
    from .report import table
    from .subject import RANDOM, load_subject

    if args.answers and 1 not in args.batch:
        raise InvalidRequest("answer files are of single rows", hint="--batch 1, or leave out --answers")
    chosen = tasks.select(args.tasks or ["replay" if args.model == RANDOM else "gym"], _data(args))
    subject = load_subject(args.model, args.draft, args.seed, args.dtype, args.device)
    report = _begun(args, subject)
    report.skipped = {task.name: task.absent for task in chosen if task.absent}
    _measure(args, subject, [task for task in chosen if not task.absent], report)
    print(table(report))
    measured = any(task.contestants for task in report.tasks)
    if args.out and measured and _draws(args):
        plot(report, args.out.with_suffix(".png"))
    return 0 if measured else 1


def _begun(args: argparse.Namespace, subject: Subject) -> Report:
    """A report without tasks: where its figures come from."""
    from ..models.numbers import numbers_of
    from .provenance import provenance
    from .replay import forcing_costs
    from .results import Report

    vocabulary = subject.replayed.vocabulary
    settings = provenance(
        model=args.model,
        draft=args.draft,
        dtype=str(subject.replayed.dtype).removeprefix("torch."),
        device=str(subject.replayed.device),
        batch=_one_or_all(args.batch),
        temperature=_one_or_all(args.temperature),
        count=args.count or COUNT,
        repeats=args.repeats or SPEED_REPEATS,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        forcing_microseconds=forcing_costs(vocabulary),
        drawing_microseconds=forcing_costs(vocabulary, 1.0) if any(args.temperature) else None,
        kernels=dict(numbers_of(subject.engine.model).kernels),
    )
    return Report(settings)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _measure(args: argparse.Namespace, subject: Subject, chosen: Sequence[BenchTask], report: Report) -> None:
    """Every task in every column, into `report`, which is saved after each."""
    from tqdm import tqdm

    from ..models.study import SIZES
    from .answers import write_answers
    from .columns import Plan, measured, total
    from .results import means

    plan = Plan(
        batches=tuple(dict.fromkeys(args.batch)),
        temperatures=tuple(dict.fromkeys(args.temperature)),
        count=args.count or COUNT,
        repeats=args.repeats or SPEED_REPEATS,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
    )
    contestants = _contestants(args, subject)
    answers = total(plan, len(contestants))  # of one task
    with tqdm(total=answers * len(chosen), unit="answer", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for at, task in enumerate(chosen):
            bar.set_description(task.name)
            for found in measured(subject, contestants, task, plan, bar.update):
                report.tasks.append(found.result)
                report.means = means(report.tasks)
                report.clock = [[size, subject.engine.clock.cost(size)] for size in SIZES]
                if args.out:
                    report.save(args.out.with_suffix(".json"))
                if args.answers:
                    write_answers(args.answers, args.model, report.provenance["settings"]["dtype"], subject, found)
            bar.update((at + 1) * answers - bar.n)


def _contestants(args: argparse.Namespace, subject: Subject) -> list[Contestant]:
    """Our methods, then transformers' ways."""
    from .baselines import baselines
    from .contestants import Ours, with_models

    names = args.methods or (METHODS if args.draft else METHODS[:-1])
    draft = None if subject.draft is None else (args.draft, subject.draft)
    chosen = {name: with_models(name, subject.replayed, draft, subject.load) for name in names}
    contestants: list[Contestant] = [
        Ours(name, subject.engine, subject.replayed, method, args.max_new_tokens) for name, method in chosen.items()
    ]
    if args.baselines:
        contestants += baselines(subject.watched, subject.draft_module, subject.ends, args.max_new_tokens)
    return contestants


def _data(args: argparse.Namespace) -> Path | None:
    folder = args.data or os.environ.get("STRETTO_DATA")
    return Path(folder) if folder else None


# -- real ---------------------------------------------------------------------------------------------


def _real(args: argparse.Namespace) -> int:
    """Real prompts, beside other engines."""
    from .real.command import run as measure

    return measure(args, _data(args))


# -- serve --------------------------------------------------------------------------------------------


def _serve(args: argparse.Namespace) -> int:
    """A server beside its engine; 1 where an answer differs."""
    from contextlib import ExitStack
    from itertools import chain, islice

    from tqdm import tqdm

    from ..engine import Engine
    from . import serving, tasks
    from .provenance import provenance
    from .subject import encode

    count, repeats = args.count or SERVE_COUNT, args.repeats or SPEED_REPEATS
    engine = Engine.load(args.model)
    chosen = [task for task in tasks.select(args.tasks or ["gym"], _data(args)) if not task.absent]
    turns = zip(*(task.exercises(args.seed) for task in chosen), strict=False)
    prompts = [encode(engine, exercise) for exercise in islice(chain.from_iterable(turns), count)]
    asked = serving.wishes(prompts, count, args.max_new_tokens, args.seed)
    record = provenance(model=args.model, count=count, repeats=repeats, beside=args.beside, seed=args.seed)
    with ExitStack() as stack:
        addresses = {"stretto": stack.enter_context(serving.server(args.model, args.threads))}
        addresses |= {"beside": args.beside} if args.beside else {}
        total = len(asked) + repeats * (len(addresses) + 1) * len(serving.RATES)
        with tqdm(total=total, delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
            found = serving.alone(engine, addresses["stretto"], asked, progress=bar.update)
            found.provenance = record
            found.ways = serving.ways(addresses, asked, found, repeats, progress=bar.update)
    print(serving.table(found))
    if args.out:
        found.save(args.out.with_suffix(".json"))
    return int(found.different > 0)


# -- shape --------------------------------------------------------------------------------------------


def _shape(args: argparse.Namespace) -> int:
    """Single forwards, batches, memory."""
    from tqdm import tqdm

    from . import shape
    from .provenance import provenance
    from .subject import RANDOM, load_subject

    subject = load_subject(args.model, "", args.seed, args.dtype, args.device)
    repeats = args.repeats or SHAPE_REPEATS
    methods = args.methods or SHAPE_METHODS
    dtype = str(subject.replayed.dtype).removeprefix("torch.")
    found = shape.Shape(provenance(model=args.model, dtype=dtype, repeats=repeats, seed=args.seed))

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


# -- overhead -----------------------------------------------------------------------------------------


def _overhead(args: argparse.Namespace) -> int:
    """What drafting costs beside the target's forwards."""
    from tqdm import tqdm

    from . import overhead
    from .provenance import provenance
    from .subject import load_subject

    subject = load_subject(args.model, "", args.seed, args.dtype, args.device)
    found = overhead.Overhead(provenance(model=args.model))
    total = len(overhead.WIDE) + len(overhead.LONG)
    with tqdm(total=total, delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        found.widths = overhead.widths(subject, progress=bar.update)
        found.lengths = overhead.lengths(subject, progress=bar.update)
    print(overhead.table(found))
    if args.out:
        found.save(args.out.with_suffix(".json"))
    return 0


# -- canvas -------------------------------------------------------------------------------------------


def _canvas(args: argparse.Namespace) -> int:
    """Masked-diffusion decoding beside a plain sampler; 1 where tokens of ours are not what they must be."""
    if args.methods or any(args.temperature):
        what = "--methods" if args.methods else "--temperature"
        hint = "leave it out, or compare any methods with: stretto bench quality"
        raise InvalidRequest(f"canvas takes no {what}: its methods are those of the plain sampler, greedily", hint)
    from tqdm import tqdm

    from . import canvas
    from .canvas_report import table
    from .provenance import provenance

    pair = canvas.load_pair(args.model, args.seed, args.dtype, args.device)
    count, repeats = max(args.count or 0, *args.batch), args.repeats or CANVAS_REPEATS
    asked = canvas.prompts(pair, count, args.seed, args.tasks or ["gym"], _data(args))
    record = provenance(
        model=args.model,
        count=count,
        repeats=repeats,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        dtype=str(pair.engine.model.dtype).removeprefix("torch."),
        shortest=min(map(len, asked)),
        longest=max(map(len, asked)),
    )
    found, ways = canvas.Comparison(record), canvas.ways_of(pair, args.max_new_tokens)
    groups = sum(-(-count // batch) for batch in args.batch)
    total = (count + repeats * groups) * len(ways)
    with tqdm(total=total, unit="group", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        right = canvas.alone(ways, asked, progress=bar.update)
        for batch in args.batch:
            found.contestants += canvas.measure(ways, asked, batch, repeats, right, progress=bar.update)
            if args.out:
                found.save(args.out.with_suffix(".json"))
    print(table(found))
    return int(any(contestant.wrong for contestant in found.contestants))


# -- quality ------------------------------------------------------------------------------------------


def _quality(args: argparse.Namespace) -> int:
    """Right answers, and what they cost."""
    from .quality.command import run as measure

    return measure(args, _data(args))


# -- anytime ------------------------------------------------------------------------------------------


def _anytime(args: argparse.Namespace) -> int:
    """Right answers of searches by what they take."""
    from tqdm import tqdm

    from ..engine import Engine
    from . import anytime
    from .provenance import provenance

    if args.methods or args.tasks:
        raise InvalidRequest("anytime has searches and questions of its own", hint="leave out --methods and --tasks")
    engine = Engine.load(args.model, dtype=args.dtype, device=args.device)
    book = anytime.Book(engine, anytime.KINDS, args.count or ANYTIME_COUNT, args.seed)
    chosen = anytime.contestants(book)
    found = anytime.Anytime(provenance(model=args.model, seed=args.seed, kinds=list(anytime.KINDS)), len(book.chats))
    curves = anytime.measured(engine, book, chosen, args.seed)
    for curve in tqdm(curves, total=len(chosen), delay=PROGRESS_AFTER, disable=None, leave=False):
        found.curves.append(curve)
    print(anytime.table(found))
    if args.out:
        found.save(args.out.with_suffix(".json"))
        anytime.plot(found, args.out.with_suffix(".png"))
    return 0


# -- constrain ----------------------------------------------------------------------------------------


def _constrain(args: argparse.Namespace) -> int:
    """What schemas and masks do, or what a model answers under schemas."""
    from .constrain.command import run as measure

    return measure(args, _data(args))


# -- claims -------------------------------------------------------------------------------------------


def _claims(args: argparse.Namespace) -> int:
    """What papers promise, tried here; 1 where a contest failed (not: where a claim does not hold)."""
    from tqdm import tqdm

    from .claims.lab import Lab
    from .claims.table import Tried, chosen, page, tried
    from .provenance import machine_line, provenance
    from .subject import load_subject

    claims = chosen(args.named)
    subject = load_subject(args.model, args.draft, args.seed, args.dtype, args.device)
    dtype = str(subject.replayed.dtype).removeprefix("torch.")
    record = provenance(model=args.model, draft=args.draft, dtype=dtype, count=args.count, seed=args.seed)
    lab = Lab(subject, args.draft, data=_data(args), seed=args.seed, count=args.count)
    found = []
    with tqdm(total=len(claims), unit="claim", delay=PROGRESS_AFTER, disable=None, leave=False) as bar:
        for each in tried(claims, lab):
            found.append(each)
            bar.set_description(each.claim.name)
            bar.update()
            if args.out:
                Tried(record, [one.record() for one in found]).save(args.out.with_suffix(".json"))
    lab.close()
    drafted = f" with {args.draft}" if args.draft else ""
    line = f"{args.model}{drafted}, {dtype}, {machine_line(record)}, {record['date'][:10]}"
    print(page(found, record["command"], line), end="")
    return int(any(each.trouble and not each.absent for each in found))


# -- report -------------------------------------------------------------------------------------------


def _report(args: argparse.Namespace) -> int:
    """Results as one page. Raises InvalidRequest where there are none to show."""
    if not args.named:
        raise InvalidRequest("there is no result to show", hint="stretto bench report RESULT.json …")
    from .page import KINDS, page
    from .results import Report

    files = [Path(name) for name in args.named]
    kinds = [next((kind for kind in KINDS if kind.is_in(file)), Report) for file in files]
    found = [(file.name, kind.load(file)) for file, kind in zip(files, kinds, strict=True)]
    out = args.out or files[0]
    target = out.with_suffix(".html")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, page(found))
    print(target)
    return 0

"""`stretto train filter` and `stretto train branches`: what two parts must know of a masked model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stretto.errors import InvalidRequest

if TYPE_CHECKING:
    from stretto.diffuse.method import Diffuse
    from stretto.engine import Engine, Prompt

STEPWISE = "low-confidence+blocks(32)"  # answers that a filter learns from: one position a step
FEWER = "ascending"  # the method of the catalogue's `bac`: every decode of a canvas takes as many steps


def add_arguments(parser: argparse.ArgumentParser, *, out: str, method: str, questions: int) -> None:
    """What both calibrations are told: the model, the method, and what to ask."""
    parser.add_argument("--model", default="zoo/masked", help="a folder, a shipped model or a hub name (zoo/masked)")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help=f"where it goes ({out})")
    parser.add_argument("--method", default=method, help=f"how it will decode: order, blocks, refresh ({method})")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N", help="positions of each canvas (64)")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a prompt a line (training questions of the gym)")
    parser.add_argument(
        "--count", type=int, default=questions, metavar="N", help=f"how many to answer at most ({questions})"
    )


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Options of `stretto train filter`."""
    add_arguments(parser, out="filter.npz", method=STEPWISE, questions=64)
    parser.add_argument("--width", type=int, default=32, metavar="N", help="positions of a window at most (32)")
    parser.add_argument("--epochs", type=int, default=4000, metavar="N", help="passes over all steps (4000)")


def add_branches(parser: argparse.ArgumentParser) -> None:
    """Options of `stretto train branches`."""
    add_arguments(parser, out="schedule.json", method=FEWER, questions=8)
    parser.add_argument("--updates", type=int, default=3, metavar="N", help="steps that compute a branch (3)")
    parser.add_argument("--volatile", type=int, default=3, metavar="N", help="MLPs whose updates pass upstream (3)")


def run_filter(given: argparse.Namespace) -> int:
    """Learn a filter, write it, and say how good it is on steps that it has not seen."""
    from stretto import method as methods
    from stretto.train.filter import LEAST, Settings, train_filter

    method, engine = _begun(given, "filter")
    settings = Settings(epochs=given.epochs)
    judge, report = train_filter(
        engine, asked(given, engine), method, width=given.width, new_tokens=given.new_tokens, settings=settings
    )
    judge.save(given.out)
    print(
        f"{given.out}: from {report.samples} steps; {report.oracle_rounds} rounds of an oracle for"
        f" {report.baseline_rounds} of the method"
    )
    print(
        f"held out, final from {LEAST}: {report.precision:.1%} of those taken for final are,"
        f" {report.recall:.1%} of the final ones are taken"
    )
    rest = methods.describe(method).split("+")[1:]
    print(f"use it: --method '{'+'.join([f'learned({given.out})', *rest])}'")
    return 0


def run_branches(given: argparse.Namespace) -> int:
    """Find the schedule, write it, and say how much of the network it computes."""
    from stretto import method as methods
    from stretto.train.branches import calibrate

    if given.updates < 1 or given.volatile < 0:
        raise InvalidRequest(f"{given.updates} updates, {given.volatile} MLPs", hint="1 update or more; 0 MLPs or more")
    method, engine = _begun(given, "schedule")
    schedule = calibrate(
        engine,
        asked(given, engine),
        method,
        given.updates,
        volatile=given.volatile,
        max_new_tokens=given.new_tokens,
        end_tokens=(),
    )
    schedule.write(given.out)
    made, whole = sum(map(len, schedule.updates.values())), schedule.steps * len(schedule.updates)
    print(f"{given.out}: decodes of {schedule.steps} steps; {made} of {whole} attentions and MLPs are computed")
    whole_method = f"{methods.describe(method)}+branch-cache({given.out})"
    print(f"use it: --method '{whole_method}' --max-new-tokens {given.new_tokens}")
    return 0


def asked(given: argparse.Namespace, engine: Engine) -> Sequence[Prompt]:
    """The prompts to answer: lines of a file, or training questions of every kind of the gym in turn."""
    from stretto import gym

    if given.prompts is None:
        kinds = list(gym.tasks())
        texts = [gym.written(kinds[at % len(kinds)], "train", f"calibrate/{at}").prompt for at in range(given.count)]
    else:
        lines = given.prompts.read_text(encoding="utf-8").split("\n")  # other breaks belong to a prompt
        texts = [line for line in lines if line.strip()][: given.count]
    if not texts:
        raise InvalidRequest("there is no prompt to answer", hint="--count of 1 or more, a file with a prompt a line")
    return [[{"role": "user", "content": text}] for text in texts] if engine.codec.has_template else texts


def _begun(given: argparse.Namespace, what: str) -> tuple[Diffuse, Engine]:
    """The method and the engine, once it is clear that a result could be written and used."""
    from stretto import method as methods
    from stretto.diffuse.method import Diffuse
    from stretto.engine import Engine
    from stretto.models.contract import masking_of

    method = methods.parse(given.method)
    if not isinstance(method, Diffuse):
        raise InvalidRequest(f"{given.method!r} fills no masks, and a {what} is for methods that do", hint=STEPWISE)
    if given.new_tokens < 1 or given.count < 1:
        raise InvalidRequest(f"{given.count} answers of {given.new_tokens} positions", hint="1 or more of both")
    if not given.out.resolve().parent.is_dir():
        raise InvalidRequest(f"there is no folder {given.out.parent}", hint="make it first, or name another --out")
    engine = Engine.load(given.model)
    if masking_of(engine.model) is None:
        raise InvalidRequest(f"{given.model} continues text; a {what} is for masked models", hint="--model zoo/masked")
    return method, engine

"""`stretto bench constrain`: schemas under masks, and a model's answers under schemas."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import ClassVar

from tqdm import tqdm

from ...engine import Engine
from ...errors import InvalidRequest, StrettoError
from ...spelling import tokens_of
from ..provenance import machine_line, provenance
from ..stored import Stored
from .answers import Answered, answered, mean
from .schemas import DRAFTS, Alone, Ours, Served, measured, sample, suite

MOST = 512  # tokens of an answer, where nothing else is said
HEAD = f"{'':34}{'schemas':>8}{'served':>8}{'by place':>9}{'valid ✗':>9}{'invalid ✓':>10}"
HEAD += f"{'mask p50':>10}{'p99':>9}{'first p50':>11}"


@dataclass(slots=True)
class Found(Stored):
    """Everything that was found."""

    COMMAND: ClassVar[str] = "stretto bench constrain"
    ENTRY: ClassVar[str] = "served"

    served: list[Served] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # schemas under which nothing was answered, and why


def run(args: argparse.Namespace, data: Path | None) -> int:
    """Measure and print; 1 where an invalid instance is taken, or an answer of ours does not hold."""
    if data is None:
        raise InvalidRequest("the schemas are not at hand", hint="--data FOLDER, or $STRETTO_DATA")
    engine = Engine.load(args.model, device=args.device)
    most = args.max_new_tokens or MOST
    found = Found(provenance(model=args.model, count=args.count, max_new_tokens=most, seed=args.seed))
    if args.count:
        _answers(found, engine, args, most, data)
    else:
        _schemas(found, engine, args.out, data)
    if args.out:
        found.save(args.out.with_suffix(".json"))
    print("\n".join(table(found)))
    ours = [each for each in found.served if each.side == Ours.name]
    held = all(each.valid and each.complete and each.same for each in found.answers)
    return int(not held or any(each.invalid_taken for each in ours))


def _schemas(found: Found, engine: Engine, out: Path | None, data: Path) -> None:
    tokens = tokens_of(engine.codec, engine.context(), engine.end_tokens)
    sets = {"MaskBench's sample": sample(data, None)} | {f"test suite, {draft}": suite(data, draft) for draft in DRAFTS}
    sides = (Ours(), Alone())
    total = len(sides) * sum(map(len, sets.values()))
    with tqdm(total=total, unit="schema", delay=0.5, disable=None, leave=False) as bar:
        for name, cases in sets.items():
            found.served += [measured(side, name, cases, tokens, bar.update) for side in sides]
            if out:
                found.save(out.with_suffix(".json"))


def _answers(found: Found, engine: Engine, args: argparse.Namespace, most: int, data: Path) -> None:
    with tqdm(total=args.count, unit="answer", delay=0.5, disable=None, leave=False) as bar:
        for case, each in answered(engine, sample(data, None), args.count, most, args.seed):
            if isinstance(each, StrettoError):
                found.failed.append(f"{case.name}: {each.message}")
                continue
            found.answers.append(each)
            bar.update()
            if args.out:
                found.save(args.out.with_suffix(".json"))


def table(found: Found) -> list[str]:
    """The figures as text."""
    lines = [f"{found.provenance['settings']['model']}, {machine_line(found.provenance)}"]
    if found.served:
        lines += ["", HEAD, *map(_line, found.served)]
        lines.append("masks and first masks in microseconds; by place: refused with the JSON pointer of the keyword")
        lines.append("valid ✗: refused as they are written, with the keys in another order or a number in another form")
    return lines + (_told(found) if found.answers else [])


def _line(each: Served) -> str:
    masks = quantiles(each.masks, n=100) if len(each.masks) > 1 else [float("nan")] * 99
    first = median(each.first) if each.first else float("nan")
    return (
        f"{f'{each.side}, {each.cases}':34}{each.schemas:8}{each.served / max(each.schemas, 1):8.1%}"
        f"{each.refused_by_place:9}{each.valid_refused:9}{each.invalid_taken:10}"
        f"{masks[49] * 1e6:10.0f}{masks[98] * 1e6:9.0f}{first * 1e6:11.0f}"
    )


def _told(found: Found) -> list[str]:
    answers = found.answers
    cost = mean([each.plain / each.free for each in answers]) - 1
    faster = mean([each.free / each.drafted for each in answers])
    return [
        "",
        f"{len(answers)} schemas, one answer each within {found.provenance['settings']['max_new_tokens']} tokens "
        f"(median {median([each.tokens for each in answers]):.0f}); {len(found.failed)} refused or failed",
        f"valid {_share([each.valid for each in answers])}, complete {_share([each.complete for each in answers])}, "
        f"the same with drafting {_share([each.same for each in answers])}",
        f"a step under a schema takes {cost:+.1%} beside plain decoding (geometric mean)",
        f"with drafting {faster:.2f} x the tokens per second of plain decoding without a schema (geometric mean)",
    ]


def _share(held: Sequence[bool]) -> str:
    return f"{sum(held)} of {len(held)}"

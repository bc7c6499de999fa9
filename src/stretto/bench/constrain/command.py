"""`stretto bench constrain`: schemas under masks, and a model's answers under schemas."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import ClassVar

from tqdm import tqdm

from ...engine import Engine
from ...errors import InvalidRequest, StrettoError
from ...spelling import tokens_of
from ..provenance import machine_line, provenance
from ..stored import Stored
from .answers import Answered, answered, mean
from .schemas import DRAFTS, KINDS, Alone, Ours, Served, Times, measured, sample, suite

MOST = 512  # tokens of an answer, where nothing else is said
HEAD = f"{'':34}{'schemas':>8}{'served':>8}{'by place':>9}{'valid':>7}{'numbers':>8}{'order':>7}{'refused':>8}"
HEAD += f"{'invalid':>8}{'taken':>6}"
TIMES = f"{'':34}{'':8}{'schemas':>8}{'masks':>9}{'p50':>8}{'p99':>8}{'first p50':>10}{'p99':>9}"

COUNTED = (
    "by place: refused with the JSON pointer of the keyword; valid: instances of what is served; of these: taken with",
    "numbers written plainly, taken with keys in another order, refused; invalid: instances; of these: taken",
)
TIMED = (
    "microseconds; both: schemas that both serve, ours by masks alone; judged: those for which ours has a judge;",
    "alone: all others; first: from a schema to its first mask",
)


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
    with tqdm(total=sum(map(len, sets.values())), unit="schema", delay=0.5, disable=None, leave=False) as bar:
        for name, cases in sets.items():
            found.served += measured(sides, name, cases, tokens, bar.update)
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
        lines += ["", HEAD, *map(_line, found.served), *COUNTED]
        lines += ["", TIMES, *(line for each in found.served for line in _times(each)), *TIMED]
    return lines + (_told(found) if found.answers else [])


def _line(each: Served) -> str:
    return (
        f"{f'{each.side}, {each.cases}':34}{each.schemas:8}{each.served / max(each.schemas, 1):8.1%}"
        f"{each.refused_by_place:9}{each.valid:7}{each.renumbered:8}{each.reordered:7}{each.valid_refused:8}"
        f"{each.invalid:8}{each.invalid_taken:6}"
    )


def _times(each: Served) -> list[str]:
    """A line for each kind of schemas."""
    lines = []
    for kind in KINDS:
        times: Times = getattr(each, kind)
        if times.schemas:
            micro = [1e6 * part for of in (times.masks, times.first) for part in (of.median, of.most)]
            lines.append(
                f"{f'{each.side}, {each.cases}':34}{kind:>8}{times.schemas:8}{times.masks.count:9}"
                f"{micro[0]:8.0f}{micro[1]:8.0f}{micro[2]:10.0f}{micro[3]:9.0f}"
            )
    return lines


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

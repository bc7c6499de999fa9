"""`stretto verify`: do two methods give the same tokens?"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from .arguments import (
    add_model,
    add_prompts,
    add_settings,
    as_prompt,
    load_engine,
    read_method,
    read_prompts,
    read_settings,
)

if TYPE_CHECKING:
    from ..engine import Engine
    from ..verify import Comparison

TAIL = 12  # tokens of context shown before a difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_prompts(parser, several="without any, one question of each task of the gym")
    parser.add_argument("--file", type=Path, help="a prompt in each line of this file")
    parser.add_argument("--task", metavar="KIND", help="questions of this task of the gym, or of all")
    parser.add_argument("--count", type=int, metavar="N", help="questions of each task (1)")
    parser.add_argument("--method", default="auto", help="the method to check (auto)")
    parser.add_argument("--against", default="plain", metavar="METHOD", help="what it must equal (plain)")
    add_model(parser)
    add_settings(parser, without=("samples",))


def run(given: argparse.Namespace) -> int:
    """Compare on every prompt. Status 0 where all differences are ties, else 1."""
    from tqdm import tqdm

    from ..verify import compare

    settings = read_settings(given)
    first, second = read_method(given.method), read_method(given.against)
    texts = _prompts(given)
    engine = load_engine(given)
    if not given.prompt and given.file is None:  # questions of the gym are asked, where the model can be asked
        given.chat = given.chat or engine.codec.has_template
    prompts = [as_prompt(engine, text, given) for text in texts]
    comparisons: list[Comparison] = []
    for number, prompt in enumerate(tqdm(prompts, unit="prompt", leave=False, disable=None), start=1):
        comparison = compare(engine, prompt, first, second, **settings)
        comparisons.append(comparison)
        if not comparison.identical:
            with tqdm.external_write_mode():
                print(difference(engine, comparison, f"prompt {number}"))
    print(f"{given.method} against {given.against}: {verdict(comparisons)}")
    return 0 if all(each.identical or each.tie for each in comparisons) else 1


def _prompts(given: argparse.Namespace) -> list[str]:
    """From exactly one source."""
    sources = [bool(given.prompt), given.file is not None, given.task is not None]
    if sum(sources) > 1:
        raise InvalidRequest("prompts come from several places", hint="use PROMPT, --file or --task")
    if given.count is not None and (given.prompt or given.file is not None):
        raise InvalidRequest("--count is of questions of the gym", hint="leave it out, or use --task")
    if given.count is not None and given.count < 1:
        raise InvalidRequest(f"count is {given.count}", hint="count >= 1")
    if given.prompt:
        return read_prompts(given)
    if given.file is not None:
        try:
            lines = given.file.read_text(encoding="utf-8").split("\n")  # other breaks belong to a prompt
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{given.file} is not UTF-8 text", hint="convert it first") from error
        prompts = [line for line in lines if line.strip()]
        if not prompts:
            raise InvalidRequest(f"{given.file} holds no prompt", hint="write one in each line")
        return prompts
    return gym_prompts(given.task or "all", given.count or 1)


def gym_prompts(kind: str, count: int) -> list[str]:
    """Questions of one task, or of all, that training has not seen."""
    from ..gym import questions, tasks

    kinds = list(tasks()) if kind == "all" else [kind]
    return [question.prompt for each in kinds for question in questions(each, "test", count)]


def difference(engine: Engine, comparison: Comparison, where: str) -> str:
    """The first difference: where, after what, which tokens, and by how much one scores better."""
    assert comparison.position is not None
    before = [*comparison.first.prompt_tokens, *comparison.first.tokens[: comparison.position]]
    kind = "tie" if comparison.tie else "difference"
    return "\n".join(
        [
            f"{where}: {kind} after {comparison.position} equal tokens, …{engine.decode(before[-TAIL:])!r}",
            *(
                f"  {answer.method}: " + ("ends" if token is None else f"{token} {engine.decode([token])!r}")
                for answer, token in zip((comparison.first, comparison.second), comparison.tokens, strict=True)
            ),
            f"  gap of their scores: {_gap(comparison)}",
        ]
    )


def _gap(comparison: Comparison) -> str:
    if math.isinf(comparison.gap):
        return "none, one of them should not be possible"
    rounding = "" if comparison.precise else "; rounding to few bits does that: --exact bits tells"
    return f"{comparison.gap:.2g}{rounding}"


def verdict(comparisons: Sequence[Comparison]) -> str:
    """One line over all prompts."""
    agreed = sum(each.agreed for each in comparisons)
    ties = sum(each.tie for each in comparisons)
    wrong = sum(not (each.identical or each.tie) for each in comparisons)
    prompts = f"{len(comparisons)} prompt" + "s" * (len(comparisons) != 1)
    if not ties and not wrong:
        return f"identical over {agreed} tokens of {prompts}"
    found = [f"{ties} tie" + "s" * (ties != 1)] * bool(ties) + [f"{wrong} different"] * bool(wrong)
    return f"{', '.join(found)} of {prompts}; {agreed} tokens identical before"

"""Answer files in the form of Spec-Bench (arXiv 2401.07851): a line for each question, a choice for each repeat.

Its own scripts read them: `new_tokens` and `wall_time` of each turn give the speed, `accept_lengths` are the tokens
that each forward of the target committed, the model's own among them.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_text
from .columns import Measured
from .contestants import Case
from .harness import Run

if TYPE_CHECKING:
    from .subject import Subject

FORBIDDEN = re.compile(r"[^\w.=]+")  # in file names

Decode = Callable[[Sequence[int]], str]


def write_answers(folder: Path, model: str, dtype: str, subject: Subject, found: Measured) -> None:
    """Add what was measured on one task to the files of all contestants, if it is numbered questions, row by row."""
    cases = [case for group in found.groups for case in group]
    if found.result.column.batch > 1 or not cases or cases[0].question is None:
        return
    temperature = found.result.column.temperature
    for contestant in dict.fromkeys(run.contestant for run in found.runs):
        name = f"{Path(model).name}-{contestant}"
        lines = answers(
            name, found.groups, [run for run in found.runs if run.contestant == contestant], subject.engine.decode
        )
        write(folder / f"{FORBIDDEN.sub('-', name).strip('-')}-{dtype}-temp-{temperature:g}.jsonl", lines)


def answers(model: str, groups: Sequence[Sequence[Case]], runs: Iterable[Run], decode: Decode) -> list[dict[str, Any]]:
    """The lines of one contestant on one task, by question; groups are single cases of numbered questions.

    Turns follow each other as they were measured. `decode` gives a text without special tokens.
    """
    choices: dict[int, dict[int, dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: (run.repeat, run.group)):
        (case,) = groups[run.group]
        assert case.question is not None
        choice = choices.setdefault(case.question, {}).setdefault(run.repeat, _choice(run.repeat))
        (rounds,) = run.answer.rounds()
        choice["turns"].append(decode(run.answer.tokens[0]).strip())
        choice["decoding_steps"].append(len(rounds))
        choice["new_tokens"].append(len(run.answer.tokens[0]))
        choice["wall_time"].append(run.seconds)
        choice["accept_lengths"] += [found.committed for found in rounds]
    categories = {group[0].question: group[0].category for group in groups}
    return [
        {
            "question_id": question,
            "category": categories[question],
            "answer_id": uuid.uuid4().hex,
            "model_id": model,
            "choices": list(repeats.values()),
            "tstamp": time.time(),
        }
        for question, repeats in sorted(choices.items())
    ]


def _choice(index: int) -> dict[str, Any]:
    return {
        "index": index,
        "turns": [],
        "decoding_steps": [],
        "new_tokens": [],
        "wall_time": [],
        "accept_lengths": [],
    }


def write(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines to an answer file; a question that it holds already is answered anew. Sorted by question."""
    held: dict[int, dict[str, Any]] = {}
    if file.exists():
        held = {line["question_id"]: line for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    held |= {line["question_id"]: line for line in lines}
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = [held[question] for question in sorted(held)]
    write_text(file, "".join(json.dumps(line) + "\n" for line in ordered))

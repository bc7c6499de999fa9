from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from stretto.bench.tasks import select
from stretto.bench.tasks.checked import SETS, last_number, parses

PROMPT = 'from typing import List\n\n\ndef double(x: List[int]) -> List[int]:\n    """ Twice each. """\n'


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("so 1,234.50 dollars.", "1234.5"),
        ("it is -3.", "-3"),
        ("5-3", "3"),
        ("1. first 2. second", "2"),
        ("none at all", None),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("    return [2 * each for each in x]", True),
        ("    return [2 * each for each in x]\n\nprint(double([1]) and so", True),  # the function had ended
        ("    return [2 * each for each in x]\n# a remark\n    x = (", False),
        ("", False),
        ("    # later", False),
        ("    return [2 *", False),
        ("return x", False),  # not in the function
        ("    return '\\d'", True),  # an odd escape is Python
        ("\x00", False),
    ],
)
def test_what_parses(reply, right):
    assert parses(PROMPT, "double", reply) is right


def test_statements_of_the_prompt_are_not_the_replys():
    prompt = "def area(r):\n    import math\n    'Of a circle.'\n"
    assert not parses(prompt, "area", "")
    assert parses(prompt, "area", "    return math.pi * r * r")
    assert not parses(prompt, "volume", "    return 0")


def test_questions_from_files(tmp_path: Path):
    lines = {
        "gsm8k:answer": {"question": "How many?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"},
        "humaneval:parses": {"prompt": PROMPT, "entry_point": "double", "canonical_solution": "    return x + x\n"},
    }
    for name, record in lines.items():
        (absent,) = select([name.partition(":")[0]], tmp_path)
        assert absent.name == name and str(tmp_path) in absent.absent
        file = tmp_path / SETS[name][0]
        file.parent.mkdir(parents=True)
        file.write_bytes(gzip.compress(json.dumps(record).encode()))
    (sums,) = select(["gsm8k"], tmp_path)[0].exercises(0)
    assert (sums.prompt, sums.answer, sums.reference) == ("How many?", "2 + 2 = 4\n#### 4", None)
    assert sums.solved("It is 4.0") and not sums.solved("4 or 5") and not sums.solved("")
    (code,) = select(["humaneval"], tmp_path)[0].exercises(0)
    assert not code.chat and code.solved(code.answer) and not code.solved("")


@pytest.mark.parametrize("name", SETS)
def test_real_questions_accept_their_own_answers(shared_data: Path, name):
    (task,) = select([name], shared_data)
    found = list(task.exercises(0))
    assert len(found) == {"gsm8k:answer": 1319, "humaneval:parses": 164}[name]
    assert all(exercise.solved(exercise.answer) and not exercise.solved("") for exercise in found)
    assert [exercise.prompt for exercise in task.exercises(0)][:5] == [exercise.prompt for exercise in found[:5]]
    assert next(iter(task.exercises(1))).prompt != found[0].prompt

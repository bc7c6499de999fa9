"""Checkers accept any right reply, not only the model answer, and nothing gets out of the sandboxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stretto import gym
from stretto.gym import Question
from stretto.gym.sandbox import call_function


def right(kind: str, facts: dict[str, Any], reply: str) -> bool:
    return gym.task(kind).check(Question(kind, "", "", facts), reply)


def test_functions_run_and_return_values() -> None:
    assert call_function("def double(x):\n    return [x * 2, 'a']", "double", [[1], [4]]) == [[2, "a"], [8, "a"]]


@pytest.mark.parametrize(
    "body",
    [
        "import os\n    return 1",
        "return open('/etc/passwd').read()",
        "return ().__class__",
        "return eval('1')",
        "return '{0.__class__}'.format(x)",
        "return __builtins__",
        "return [0] * 10**9",
        "return f(x)",
        "return undefined",
        "while True: pass",
    ],
)
def test_functions_that_reach_out_or_never_end_are_wrong(body: str) -> None:
    assert call_function(f"def f(x):\n    {body}", "f", [[1]], seconds=1) is None


def test_another_program_with_the_same_results_is_right() -> None:
    facts = {"function": "f", "tests": [[[[1, 2, 3]], 6], [[[5]], 5]]}
    assert right("python_function", facts, "def f(xs):\n    return sum(xs)")
    assert not right("python_function", facts, "def f(xs):\n    return max(xs)")


def test_another_solution_of_countdown_is_right() -> None:
    facts = {"numbers": [2, 3, 6], "target": 12}
    assert right("countdown", facts, "#### 6 * (3 - 2) * 2") is False  # uses 2 twice
    assert right("countdown", facts, "#### 6 * 2") is False  # leaves out 3
    assert right("countdown", {"numbers": [2, 3, 6], "target": 36}, "#### (2 * 3) * 6")
    assert right("countdown", {"numbers": [2, 3, 6], "target": 36}, "anything\n#### 6 * 3 * 2")


def test_any_valid_sudoku_filling_is_right() -> None:
    facts = {"puzzle": "_ _ _ _\n_ _ _ _\n_ _ _ _\n4 3 2 1"}
    assert right("sudoku", facts, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1")
    assert not right("sudoku", facts, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 1 2")  # changes a given digit
    assert not right("sudoku", facts, "1 2 3 4\n2 1 4 3\n3 4 1 2\n4 3 2 1")  # boxes


def test_json_may_be_spaced_differently() -> None:
    assert right("json_edit", {"object": {"a": 1, "b": [2]}}, '{"a":1,"b":[2]}')
    assert not right("json_edit", {"object": {"a": 1}}, '{"a": 2}')


def test_sql_is_run_and_cannot_write(tmp_path: Path) -> None:
    facts = {
        "table": "people",
        "columns": ["name", "city", "job", "age"],
        "answer": "SELECT name FROM people WHERE age > 30;",
        "rows": [["Anna", "Paris", "cook", 31], ["Tom", "Rome", "judge", 22], ["Ben", "Oslo", "nurse", 40]],
    }
    assert right("sql", facts, "select name from people where 30 < age")
    assert not right("sql", facts, "SELECT name FROM people WHERE age > 22;")
    assert not right("sql", facts, f"ATTACH DATABASE '{tmp_path}/x.db' AS x")
    assert not list(tmp_path.iterdir())
    assert not right("sql", facts, "WITH RECURSIVE c(n) AS (SELECT 30 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c")


def test_stories_must_name_everything_and_end() -> None:
    facts = {"names": ["Anna", "fox", "lamp", "river"], "hero": "Anna", "thing": "lamp"}
    middle = "Anna the fox went to the river. " + "It was a long way to go for a small fox. " * 3
    end = "At last the lamp was safe, and Anna thanked Tom."
    assert right("story", facts, middle + end)
    assert not right("story", facts, middle + "At last the lamp was safe, and Anna")
    assert not right("story", facts, middle.replace("river", "lake") + end)

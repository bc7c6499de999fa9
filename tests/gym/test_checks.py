"""Checkers accept any right reply, not only the model answer, and nothing gets out of the sandboxes."""

from __future__ import annotations

import builtins
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from stretto import gym
from stretto.errors import Unsupported
from stretto.gym import Question, sandbox
from stretto.gym.sandbox import MOST_OUTPUT, call_function, confined


def right(kind: str, facts: dict[str, Any], reply: str) -> bool:
    return gym.task(kind).check(Question(kind, "", "", facts), reply)


def test_functions_run_and_return_values() -> None:
    assert call_function("def double(x):\n    return [x * 2, 'a']", "double", [[1], [4]]) == [[2, "a"], [8, "a"]]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return [x, x is 1]", [1, True]),  # of which the compiler warns
        ("return '\\d'", "\\d"),  # the same
        ("return sum(10**k % 7 for k in range(5000))", sum(10**k % 7 for k in range(5000))),
        ("return len(sorted(range(300_000, 0, -1)))", 300_000),
        ("return '\u00e4'.upper() + 'a'", "\u00c4a"),
        ("match x:\n        case 1: return {'k': [x, None, 1.5]}", {"k": [1, None, 1.5]}),
    ],
)
def test_ordinary_functions_notice_no_wall(body: str, value: Any) -> None:
    assert call_function(f"def f(x):\n    {body}", "f", [[1]]) == [value]


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
        "return (v for v in [x]).send",  # an attribute that is no method of a text, a number or a collection
        "match x:\n        case int(real=y): return y",
        "return 'x' * 50_000_000",
        "return 'x' * 2_000_000",
    ],
)
def test_functions_that_reach_out_or_never_end_are_wrong(body: str) -> None:
    assert call_function(f"def f(x):\n    {body}", "f", [[1]], seconds=1) is None


# Below, nothing looks at the source, and it has every builtin there is: what holds is the operating system.


def unchecked(body: str, seconds: int = 2) -> tuple[int, bytes]:
    """Exit status and output of a probe in the walled-in process."""
    indented = body.replace("\n", "\n    ")
    every = [
        name for name, value in vars(builtins).items() if type(value).__module__ != "_sitebuiltins" and name != "_"
    ]
    return confined(f"def f(x):\n    {indented}", "f", [[1]], seconds, builtins=every)


@pytest.mark.parametrize(
    "body",
    [
        "open(PLACE + '/new', 'w')",
        "open(PLACE + '/there').read()",
        "import os\nos.mkdir(PLACE + '/new')",
        "import os\nos.unlink(PLACE + '/there')",
        "import os\nos.listdir('.')",
        "import os\nos.fork()",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.kill(os.getppid(), 0)",
        "import _thread\n_thread.start_new_thread(print, ())",
        "import ctypes\nctypes.CDLL(None).socket(2, 1, 0)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import time\ntime.sleep(0.001)",
    ],
)
def test_the_system_itself_ends_what_reaches_out(body: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept", encoding="utf-8")
    status, output = unchecked(body.replace("PLACE", repr(str(tmp_path))))
    assert (status, output) == (-signal.SIGSYS, b"")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("there", "kept")]


def test_the_system_bounds_memory_time_and_output() -> None:
    assert unchecked("return len(bytearray(2**32))") == (1, b"")  # MemoryError
    assert unchecked("return len(bytearray(2**26))") == (0, b"[67108864]")
    assert unchecked("while True: pass", seconds=1)[0] in (-signal.SIGXCPU, -signal.SIGKILL)
    status, output = unchecked("return 'x' * 50_000_000")
    assert status == -signal.SIGKILL and len(output) == MOST_OUTPUT + 1


def test_nothing_of_ours_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET", "of ours")
    status, output = unchecked("import os\nreturn sorted(os.environ)")
    assert status == 0 and set(json.loads(output)[0]) <= {"LC_CTYPE", "LD_LIBRARY_PATH"}
    with open(tmp_path / "ours", "w", encoding="utf-8") as file:
        read = f"import os\ntry:\n    return os.read({file.fileno()}, 1)\nexcept OSError:\n    return 'closed'"
        assert unchecked(read) == (0, b'["closed"]')


def test_walls_stand_in_any_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call_function("def f(x):\n    return x", "f", [[7]])))
    thread.start()
    thread.join()
    assert found == [[7]]


def test_without_walls_replies_are_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = "def f(x):\n    return x", "f", [[1]]
    sandbox.require_walls.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="not run on darwin") as caught:
        call_function(*asked)
    assert "Linux" in caught.value.hint
    monkeypatch.undo()
    filterless = sandbox.CELL.read_text(encoding="utf-8").replace("SECCOMP_MODE_FILTER = 2", "SECCOMP_MODE_FILTER = 99")
    (tmp_path / "cell.py").write_text(filterless, encoding="utf-8")  # a system that knows no such mode
    monkeypatch.setattr(sandbox, "CELL", tmp_path / "cell.py")
    with pytest.raises(Unsupported, match="confines no process"):
        call_function(*asked)
    monkeypatch.undo()
    assert call_function(*asked) == [1]


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

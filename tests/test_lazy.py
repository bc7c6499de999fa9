"""Modules that run when something of them is read, each in a fresh process with a package of its own."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from stretto.cli.arguments import Parser, add_model, load_engine

BODY = """
print("runs")
from threading import get_ident
from . import part
value = part.value + 1

def __getattr__(name):
    if name == "later":
        return 7
    raise AttributeError(name)
"""


@pytest.fixture
def told(tmp_path):
    """What a script prints that may import `heavy`, a package whose `heavy.part` has a value, line by line."""
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text(BODY)
    (tmp_path / "heavy" / "part.py").write_text("value = 1\n")

    def run(script: str) -> list[str]:
        begun = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom stretto.lazy import postponed\n"
        done = subprocess.run([sys.executable, "-c", begun + script], capture_output=True, text=True, check=True)
        return done.stdout.split()

    return run


WITHIN = "with postponed(['heavy']):\n    import heavy\n    import heavy as again\n"


def test_a_module_runs_once_when_something_of_it_is_read(told):
    script = WITHIN + "print('imported')\nprint(heavy.value, heavy.value, heavy is again is sys.modules['heavy'])"
    assert told(script) == ["imported", "runs", "2", "2", "True"]


def test_a_module_that_was_read_is_a_plain_one(told):
    script = WITHIN + "heavy.value\nprint(type(heavy) is type(sys), heavy.later, hasattr(heavy, 'nosuch'))"
    assert told(script) == ["runs", "True", "7", "False"]


@pytest.mark.parametrize("line", ["from heavy import value", "import heavy.part", "from heavy.part import value"])
def test_reading_by_import_runs_it_too(told, line):
    assert told(WITHIN + f"print('imported')\n{line}\nprint(heavy.part.value)") == ["imported", "runs", "1"]


def test_a_module_that_fails_says_so_each_time(told):
    tries = "for _ in 1, 2:\n    try:\n        broken.value\n    except ZeroDivisionError:\n        print('failed')\n"
    script = "from pathlib import Path\n(Path(sys.path[0]) / 'broken.py').write_text('1 / 0')\n"
    assert told(script + "with postponed(['broken']):\n    import broken\n" + tries) == ["failed", "failed"]


def test_other_threads_wait_until_it_is_whole(told):
    script = (
        WITHIN
        + """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    print(*pool.map(lambda _: heavy.value, range(8)))
"""
    )
    assert told(script) == ["runs", *["2"] * 8]


def test_outside_modules_run_at_once_and_missing_ones_are_missing(told):
    script = "with postponed(['heavy', 'nosuch']):\n    try:\n        import nosuch\n    except ImportError:\n"
    assert told(script + "        print('none')\nimport heavy\nprint(type(heavy) is type(sys))") == [
        "none",
        "runs",
        "True",
    ]


def test_no_garbage_is_searched_for_while_a_command_loads_its_model():
    parser, searches = Parser(), []
    add_model(parser)
    gc.callbacks.append(lambda phase, found: searches.append(phase))
    try:
        load_engine(parser.parse_args([]))
        assert searches.count("start") <= 1 and gc.isenabled()  # the one that was due when it was done
    finally:
        gc.callbacks.pop()

"""Run a short untrusted Python function: restricted syntax and builtins, in a process that the system walls in.

What names can reach is a first, cheap refusal. The boundary is the process (`cell`): it cannot open a file, start a
process, reach a network, or take more than its memory, its time and its output, whatever its code does.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

from ..errors import Unsupported

BUILTINS = (
    "abs",
    "all",
    "any",
    "bool",
    "chr",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "int",
    "isinstance",
    "len",
    "list",
    "map",
    "max",
    "min",
    "ord",
    "pow",
    "range",
    "reversed",
    "round",
    "set",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
)
CELL = Path(__file__).resolve().with_name("cell.py")
MOST_OUTPUT = 1 << 20  # bytes of JSON
GRACE = 8  # seconds for starting the process on a busy machine
LONGEST_SOURCE = 1 << 16  # characters
METHODS = frozenset(
    name for kind in (str, int, float, list, dict, set, tuple) for name in dir(kind) if not name.startswith("_")
) - {"format", "format_map"}  # these look attributes up by a text
FORBIDDEN = (
    ast.Import,
    ast.ImportFrom,
    ast.Global,
    ast.Nonlocal,
    ast.ClassDef,
    ast.AsyncFunctionDef,
    ast.With,
    ast.Raise,
    ast.Try,
    ast.TryStar,
    ast.MatchClass,  # looks attributes up
    ast.Await,
    ast.Yield,
    ast.YieldFrom,
)


def call_function(source: str, name: str, calls: list[list[Any]], seconds: int = 2) -> list[Any] | None:
    """Define `source` in a fresh process and return what `name` gives for each list of arguments.

    None where the source is refused (imports, classes, names with underscores, attributes other than the methods of
    texts, numbers and collections, …), fails, takes longer than `seconds`, or says more than 1 MiB. Values travel as
    JSON, so tuples come back as lists. Raises Unsupported where the system cannot wall a process in.
    """
    require_walls()
    if not _harmless(source):
        return None
    status, output = confined(source, name, calls, seconds)
    try:
        return list(json.loads(output)) if status == 0 else None
    except ValueError:
        return None


@cache
def require_walls() -> None:
    """Raise Unsupported where processes cannot be walled in: that takes Linux, and its seccomp filters."""
    hint = "check replies on Linux (x86-64 or ARM64), where programs may install seccomp filters"
    if sys.platform != "linux":
        raise Unsupported(f"model-written code is not run on {sys.platform}: nothing there confines it", hint=hint)
    status, output = confined("def f(x): return x", "f", [[1]], seconds=2)
    if (status, output) != (0, b"[1]"):
        raise Unsupported("model-written code is not run here: the system confines no process", hint=hint)


def confined(
    source: str, name: str, calls: list[list[Any]], seconds: int, builtins: Sequence[str] = BUILTINS
) -> tuple[int, bytes]:
    """Exit status and output of a walled-in process that runs `source`; a negative status is the signal that ended it.

    Nothing of the source is looked at. The process has an empty folder, no environment and no open file of ours.
    """
    job = json.dumps({"source": source, "name": name, "calls": calls, "builtins": builtins}).encode()
    libraries = "LD_LIBRARY_PATH"  # some interpreters find their own library by it
    known = {libraries: os.environ[libraries]} if libraries in os.environ else {}
    # isolated, no site packages, no warnings: showing one would open the source, which ends the process
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(CELL), str(seconds)]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with (
        tempfile.TemporaryDirectory(prefix="stretto-cell-") as empty,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, env=known, cwd=empty) as process,
    ):
        assert process.stdin and process.stdout
        late = Timer(seconds + GRACE, process.kill)
        late.start()
        try:
            process.stdin.write(job)
            process.stdin.close()
            output = process.stdout.read(MOST_OUTPUT + 1)
            if len(output) > MOST_OUTPUT:
                process.kill()
            return process.wait(), output
        except BrokenPipeError:  # it ended before it had read the job
            process.kill()
            return process.wait() or 1, b""
        finally:
            late.cancel()
            process.kill()


def _harmless(source: str) -> bool:
    """Nothing but a function on plain values: imports, classes, attributes that are no method of theirs are refused."""
    if len(source) > LONGEST_SOURCE:
        return False
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in nodes:
        if isinstance(node, FORBIDDEN):
            return False
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return False
        if isinstance(node, ast.Attribute) and node.attr not in METHODS:
            return False
    return True

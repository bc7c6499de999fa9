"""The house rules, checked on the source itself: floors, lengths, the reading path, a light import."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "stretto"
FLOORS = [  # an import goes down this list, never up
    {"cli"},
    {"serve"},
    {"bench"},
    {"train"},
    {"verify", "fuzz", "laws", "coding"},
    {"engine"},
    {"handle"},
    {"call"},
    {"scheduler"},
    {
        "method",
        "request",
        "foreign",
        "object_state",
        "text",
        "spelling",
        "messages",
        "pieces",
        "score",
        "between",
        "guarantee",
        "holes",
    },
    {"diagnose", "page"},
    {"search"},
    {"speculate", "route", "diffuse"},
    {"family"},
    {"loop", "pace"},
    {"documents"},
    {"context"},
    {"row"},
    {"steer", "constrain", "memory"},
    {"models"},
    {"gym"},
    {"zoo"},
    {"parts"},
    {"catalogue"},
    {
        "tree",
        "noise",
        "generation",
        "calls",
        "notebook",
        "entry",
        "values",
        "annotations",
        "files",
        "errors",
        "aliases",
        "lazy",
        "__init__",
    },
]
LONGEST = 60  # lines of a function, its docstring left out
PARTS = [
    "speculate/drafters",
    "speculate/acceptors",
    "speculate/planners",
    "speculate/inside",
    "route",
    "search",
    "search/scorers",
    "search/critics",
    "steer",
    "memory",
]
PARTS += ["diffuse/orders", "diffuse/blocks", "diffuse/refresh", "diffuse/stops"]
PARTS += ["diffuse/adjustments", "diffuse/guessers", "diffuse/constraints"]

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def module_of(file: Path) -> tuple[str, ...]:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports_of(file: Path) -> set[tuple[str, ...]]:
    """Modules of this package that a file imports, as paths below the package."""
    package = file.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = (*base, *(node.module.split(".") if node.module else ()))
            found |= {(*target, alias.name) for alias in node.names} if not node.module else {target}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stretto"):
            found.add(tuple(node.module.split(".")[1:]))
    return {target or ("__init__",) for target in found}


def floor_of(name: str) -> int:
    return next(at for at, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file):
    name = module_of(file)[0]
    if name == "__init__":
        return  # the face of the package hands names on, lazily
    for target in imports_of(file):
        if target[0] != name and target[0] != "__version__":
            assert floor_of(target[0]) >= floor_of(name), f"{'/'.join(module_of(file))} imports {'.'.join(target)}"


def test_a_part_never_imports_another_part_of_its_kind():
    shared = {
        "contract",
        "abilities",
        "nodes",
        "path",
        "pipeline",
        "choice",
        "report",
        "truncation",
        "temperature",
        "states",
        "logits",
        "taps",
        "occurrences",
    }  # steer's own groundwork
    shared |= {
        "loop",
        "family",
        "source",
        "reader",
        "switch",
        "proposing",
        "grams",
        "branches",
        "tree",
        "tree_search",
        "simulating",
        "bounds",
        "tried",
        "unsure",
        "reading",
        "stepwise",
        "segmentwise",
        "scorer",
        "segmenter",
        "segmenters",
        "ranking",
        "scorers",
        "critic",
        "critics",
        "within",
        "texts",
        "packed",
        "ageing",
        "evicting",
        "sparse",
        "blockwise",
        "codes",
        "pieces",
    }  # the routes', searches' and stores'
    for folder in PARTS:
        names = {file.stem for file in (PACKAGE / folder).glob("*.py")} - {"__init__"} - shared
        for file in (PACKAGE / folder).glob("*.py"):
            if file.stem in names:
                siblings = {target[-1] for target in imports_of(file) if target[:-1] == tuple(folder.split("/"))}
                assert not siblings & names, file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_function_is_long(file):
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef):
            documented = node.body[0] if ast.get_docstring(node) else None
            skipped = documented.end_lineno - documented.lineno + 1 if documented else 0
            assert node.end_lineno - node.lineno + 1 - skipped <= LONGEST, f"{file.name}: {node.name}"


def test_the_import_is_light():
    script = "import sys, stretto; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


COMPUTES_NOTHING = [
    "--help",
    "--version",
    "methods",
    "methods --parts --json",
    "methods fuse+multi",
    "methods nosuch",
    "compress --help",
    "expand --help",
    "generate --help",
    "generate --nosuch x",
    "generate --method nosuch x",
    "generate --method lookup+auto x",
    "generate --temperature -3 x",
    "chat --method fuse(nosuch=1)",
    "verify --help",
    "serve --help",
    "serve --host 0.0.0.0",
    "batch --help",
    "bench --help",
]


def test_commands_that_compute_nothing_load_no_model_stack():
    """`torch._C` and `numpy._core` are there as soon as these packages are run, not only named; one after the other."""
    script = f"""
import sys, stretto.cli
for words in {COMPUTES_NOTHING!r}:
    try:
        stretto.cli.main(words.split())
    except SystemExit:
        pass
    stack = [m for m in ("torch._C", "transformers", "numpy._core", "tokenizers", "safetensors") if m in sys.modules]
    print("after", words, stack, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("after ")]
    assert told == [f"after {words} []" for words in COMPUTES_NOTHING]

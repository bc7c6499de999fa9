"""Ten faults, planted one by one into a copy of the package: the law that is to find each of them must fail.

    python tests/planted.py        # all; a few minutes
    python tests/planted.py 3 7    # some, by number

Tests that cannot fail are worth nothing, and which can is found out here. `tests/test_planted.py` sees to it that what
is to be changed still stands in the source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """One line of the source made wrong."""

    what: str
    file: str  # below src/stretto
    right: str
    wrong: str
    law: str  # below tests: a file, and by what its tests are chosen


FAULTS = [
    Fault(
        "two positions share their noise",
        "steer/nodes.py",
        "key(rule.seed, rule.stream, at)",
        "key(rule.seed, rule.stream, at - at % 2)",
        "steer/test_choice.py",
    ),
    Fault(
        "a drafted token that is not the choice is accepted where it is the only child",
        "speculate/acceptors/exact.py",
        "child = target.trees[row].child_bearing(nodes[row], token)",
        "child = next(iter(target.trees[row].children(nodes[row])), None)",
        "laws/test_matrix.py -k every_cell",
    ),
    Fault(
        "values of kept slots stay where they were, and keys move",
        "models/blocks.py",
        "for block in self.all:\n            block[:, place, :, start : start + len(slots)]",
        "for block in self.all[:2]:\n            block[:, place, :, start : start + len(slots)]",
        "laws/test_cache.py -k fresh_reading",
    ),
    Fault(
        "a penalty overlooks what was drafted",
        "steer/occurrences.py",
        "again.append(line * len(tokens) + slot)",
        "continue",
        "laws/test_matrix.py -k every_cell",
    ),
    Fault(
        "siblings of a tree see each other",
        "models/window.py",
        "seen[slot] |= seen[parent]",
        "seen[slot, : slot + 1] = True",
        "models/test_lean.py",
    ),
    Fault(
        "a block that is known by its tokens alone is taken for the one after other blocks",
        "models/prefixes.py",
        "before = found[key].number",
        "before = self._root(cache)",
        "models/test_prefixes.py laws/test_prefixes.py",
    ),
    Fault(
        "a row whose tokens depend on drafts goes on where it was preempted",
        "speculate/loop.py",
        "return work.method.guarantee is Guarantee.EXACT",
        "return True",
        "laws/test_scheduler.py -k as_alone",
    ),
    Fault(
        "what a revision takes back outside of the window stays as it was computed",
        "diffuse/refresh/block_cache.py",
        "if back and canvas.masking.block is not None:",
        "if False and canvas.masking.block is not None:",
        "diffuse/refresh/test_exact.py laws/test_diffusion.py -k exact",
    ),
    Fault(
        "a companion keeps the drafted nodes in the order of their slots, whatever was accepted",
        "speculate/companions.py",
        "[place.start + slot for slot in slots]",
        "[place.start + at for at in range(len(slots))]",
        "speculate/test_companions.py",
    ),
    Fault(
        "a position that is drawn again at a later step gets the same draw",
        "diffuse/chance.py",
        "(split_all(keys, _index(step, Use.TOKEN)) if step else keys)",
        "keys",
        "diffuse/test_chance.py",
    ),
]


def found(fault: Fault) -> bool:
    """Whether the law fails once the fault is planted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "stretto" / fault.file
        source = file.read_text(encoding="utf-8")
        assert source.count(fault.right) == 1, f"{fault.file} does not hold {fault.right!r} once"
        file.write_text(source.replace(fault.right, fault.wrong), encoding="utf-8")
        words = [word if word.startswith("-") or "." not in word else f"tests/{word}" for word in fault.law.split()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", *words]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode == 1


def main(numbers: list[int]) -> int:
    missed = 0
    for number in numbers or range(1, len(FAULTS) + 1):
        fault = FAULTS[number - 1]
        seen = found(fault)
        missed += not seen
        print(f"{number:2}. {'found' if seen else 'MISSED'}: {fault.what} ({fault.law})", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]]))

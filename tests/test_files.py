"""Saving: the old file or the new one, whole, whatever happens between; nothing is left lying about."""

from __future__ import annotations

import ast
import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stretto.errors import InvalidRequest
from stretto.files import UNFINISHED, replacing, replacing_files, require_writable, write_text
from stretto.generation import Generation

PACKAGE = Path(__file__).parents[1] / "src" / "stretto"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def in_a_process(script: str, *arguments: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """A Python script in its own process, in which no file may grow beyond `limit` bytes: a full disk."""

    def bounded() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead of the end
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=bounded)


TRACE = """
import sys
from stretto.generation import Generation
Generation("x" * 100_000, [], "end", []).save_trace(sys.argv[1])
"""


def test_a_full_disk_leaves_the_old_trace(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    Generation("old", [], "end", []).save_trace(place)
    old = place.read_text(encoding="utf-8")
    done = in_a_process(TRACE, place, limit=10_000)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert place.read_text(encoding="utf-8") == old and names(tmp_path) == ["trace.json"]
    assert in_a_process(TRACE, place).returncode == 0 and place.stat().st_size > 100_000


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    write_text(place, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(place, "x" * 100_000 + "\ud800")
    assert place.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["a.txt"]


KILLED = """
import os, signal, sys
from stretto.files import replacing, replacing_files
with replacing(sys.argv[1]) as fresh, replacing_files(sys.argv[2]) as folder:
    fresh.write_text("half")
    (folder / "one").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    write_text(place, "old")
    assert in_a_process(KILLED, place, tmp_path).returncode == -signal.SIGKILL
    assert place.read_text(encoding="utf-8") == "old" and sum(UNFINISHED in name for name in names(tmp_path)) == 2
    write_text(place, "new")
    assert place.read_text(encoding="utf-8") == "new" and names(tmp_path) == ["a.txt"]


def test_what_another_is_writing_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "slow.txt") as fresh, replacing_files(tmp_path) as folder:
        (folder / "b").write_text("b")
        fresh.write_text("slow")
        write_text(tmp_path / "quick.txt", "quick")
    assert names(tmp_path) == ["b", "quick.txt", "slow.txt"]
    assert (tmp_path / "slow.txt").read_text(encoding="utf-8") == "slow"


def test_links_permissions_and_endings_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.json", tmp_path / "b.json"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as fresh:
        assert fresh.suffix == ".json" and fresh.parent == target.parent
        fresh.write_text("new", encoding="utf-8")
    assert link.is_symlink() and target.read_text(encoding="utf-8") == "new" and target.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "c", "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640


def test_a_device_and_a_pipe_are_written_to(tmp_path: Path) -> None:
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    with (tmp_path / "all.txt").open("w") as output:
        script = "from stretto.files import write_text; print('one', flush=True); write_text('/dev/stdout', 'two')"
        subprocess.run([sys.executable, "-c", script], stdout=output, check=True)
    assert "two" in (tmp_path / "all.txt").read_text()
    script = "from stretto.files import write_text; write_text('/dev/stdout', 'two')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"two"


def test_several_files_are_all_old_where_one_fails(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    with replacing_files(tmp_path) as fresh:
        (fresh / "one").write_text("old", encoding="utf-8")
        (fresh / "below").mkdir()
        (fresh / "below" / "two").write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), replacing_files(tmp_path) as fresh:
        (fresh / "one").write_text("new", encoding="utf-8")
        raise RuntimeError
    assert names(tmp_path) == ["below", "mine", "one"]
    assert [(tmp_path / name).read_text() for name in ("one", "below/two", "mine")] == ["old", "old", "mine"]


def test_whether_a_file_can_be_written_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "new.json")
    require_writable(Path("/dev/null"))
    assert names(tmp_path) == []
    for place, told in ((tmp_path / "nil" / "a", "there is no folder"), (tmp_path, "is a folder")):
        with pytest.raises(InvalidRequest, match=told):
            require_writable(place)
    child = os.fork()
    if child == 0:  # as somebody who may not write there, which the superuser may anywhere
        with suppress(PermissionError):
            os.setuid(65534)
        try:
            require_writable(Path("/new.json"))
        except InvalidRequest as error:
            os._exit(7 if "may not be written to" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# -- nobody saves in another way -----------------------------------------------------------------------

WRITERS = {"write_text", "write_bytes", "savefig", "save", "savez", "save_file", "save_pretrained", "touch"}
HELPERS = {"replacing", "replacing_files", "unfinished", "TemporaryDirectory"}
ELSEWHERE = {  # not what somebody keeps
    "files.py": "the helper itself",
    "bench/drawing.py": "a picture into memory",
    "bench/real/serve.py": "a pipe to whoever asks",
    "bench/claims/diffusion_constraints.py": "a passing grammar in a temporary folder",
    "bench/claims/lab.py": "texts in a temporary folder",
    "serve/batch.py": "answers, to which lines are added",
    "train/trainer.py": "the log, to which lines are added",
    "train/heads/trainer.py": "the same",
}


def unsafe(tree: ast.AST, safe: bool = False) -> list[int]:
    """Lines on which a file is written outside of a block of the helpers."""
    found = []
    if isinstance(tree, ast.With):
        calls = [item.context_expr for item in tree.items if isinstance(item.context_expr, ast.Call)]
        safe = safe or any(isinstance(call.func, ast.Name) and call.func.id in HELPERS for call in calls)
    if isinstance(tree, ast.Call) and not safe:
        own = isinstance(tree.func, ast.Attribute) and tree.func.attr in WRITERS
        modes = [each.value for each in (*tree.args, *(word.value for word in tree.keywords)) if _is_text(each)]
        opens = ast.unparse(tree.func).endswith("open") and any(re.fullmatch("[wxa][bt+]*", mode) for mode in modes)
        if (own and not _saves_itself(tree)) or opens or _named(tree) == "save_file":
            found.append(tree.lineno)
    for child in ast.iter_child_nodes(tree):
        found += unsafe(child, safe)
    return found


def _named(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _is_text(node: ast.expr) -> Any:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _saves_itself(call: ast.Call) -> bool:
    """`thing.save(path)` of our own classes, whose `save` is looked at where it stands."""
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr == "save" and ast.unparse(call.func.value) not in ("np", "numpy", "torch")


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_are_saved_by_the_helper(file: Path) -> None:
    if file.relative_to(PACKAGE).as_posix() not in ELSEWHERE:
        assert not unsafe(ast.parse(file.read_text(encoding="utf-8"))), "see stretto.files"

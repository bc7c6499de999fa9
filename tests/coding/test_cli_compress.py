"""`stretto compress` and `stretto expand`, as they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from stretto import cli, zoo

DRAFT = ("--model", "zoo/draft")  # the smallest


def test_a_file_comes_back_and_a_damaged_one_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "draft" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    monkeypatch.chdir(tmp_path)
    text = b"def count_owl(s):\n    return len(s.split())\n"
    Path("a.py").write_bytes(text)
    assert cli.main(["compress", "a.py", "--window", "64", "--context", "8", *DRAFT]) == 0
    assert "44 bytes in" in capsys.readouterr().out
    assert cli.main(["expand", "a.py.str", "-o", "b.py", *DRAFT]) == 0
    assert Path("b.py").read_bytes() == text
    written = bytearray(Path("a.py.str").read_bytes())
    written[-50] ^= 1
    Path("a.py.str").write_bytes(written)
    Path("b.py").write_text("as it was")
    capsys.readouterr()
    assert cli.main(["expand", "a.py.str", "-o", "b.py", *DRAFT]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "a.py.str: " in told and "damaged" in told
    assert Path("b.py").read_text() == "as it was" and sorted(tmp_path.iterdir()) == sorted(
        tmp_path / name for name in ("a.py", "a.py.str", "b.py")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compress", "nothing"], "No such file"),
        (["compress", "a", "-o", "a"], "over itself"),
        (["compress", "a", "-o", "nowhere/a.str"], "no folder"),
        (["expand", "a"], "-o"),
    ],
    ids=["missing", "itself", "no folder", "no ending"],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("x")
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and said in told
    assert Path("a").read_text() == "x"

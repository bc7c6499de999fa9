"""The page as a file: what stands in it is the trace, and nothing else runs. (How it looks: serve/test_page.py.)"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from stretto.cli import main
from stretto.engine import Engine
from stretto.generation import Generation, Step
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.page import page, policy, traced

HOSTILE = "</script><!--<script>\u2028&lt;/*STYLE*/ POLICY /*SCRIPT*/"


def element(text: str, name: str) -> str:
    (found,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found


def test_the_trace_stands_in_it_whole_and_ends_no_element() -> None:
    record = Generation(HOSTILE, [1], "end", [0], steps=[Step(1, [1], [HOSTILE])]).record()
    text = page([record])
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data) == {"traces": [record], "asking": None}
    assert text.count("</script") == 2 and "<!--" not in text


@pytest.mark.parametrize("live", [False, True])
def test_its_policy_lets_run_what_stands_in_it_alone(live: bool) -> None:
    text = page([], {} if live else None)
    for kind, name in (("script-src", "script"), ("style-src", "style")):
        told = b64encode(sha256(element(text, name).encode()).digest()).decode()
        assert f"{kind} 'sha256-{told}'" in policy(live)
    assert f'content="{policy(live)}"' in text and policy(live).startswith("default-src 'none'")
    assert "unsafe" not in policy(live) and ("connect-src 'self'" in policy(live)) == live


def test_pieces_are_the_text_and_every_token_has_its_own() -> None:
    engine = Engine(TableModel.random(6, seed=4), clock=SimulatedClock())
    asked = {"max_new_tokens": 20, "end_tokens": [], "log_probabilities": 3}
    answer = engine.generate([0, 1, 0, 1], "recycle+fixed(4)", **asked)
    trace = traced(answer, engine.codec)
    assert "".join(trace["pieces"]) == answer.text and len(trace["pieces"]) == 20
    named = {*answer.tokens, *(token for step in answer.steps for token in step.drafted)}
    assert {str(token) for token in named} <= trace["texts"].keys()
    assert {name: trace[name] for name in answer.record()} == answer.record()


def test_commands_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = []
    for name in ("a", "b"):
        traces.append(tmp_path / name)
        answer = Generation("x", [1, 2], "end", [0], steps=[Step(1, [1], [""]), Step(2, [2], [""])])
        answer.counters.rounds = answer.counters.row_forwards = answer.counters.new_tokens = 2
        answer.save_trace(traces[-1])
    drawn = str(tmp_path / "page.html")
    assert main(["diagnose", "--trace", *map(str, traces), "--page", drawn]) == 0
    assert page([json.loads(file.read_text()) for file in traces]) == (tmp_path / "page.html").read_text()
    for words in (["--page", drawn], ["--trace", *map(str, traces), str(traces[0]), "--page", drawn]):
        assert main(["diagnose", *words]) == 2
        assert "--page draws one trace or two" in capsys.readouterr().err

"""The page in headless Chromium: what stands on it is what the Generation says, and hostile text stays text."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="pip install playwright")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from playwright.sync_api import expect, sync_playwright

from serve.serving import Live, serving
from stretto.engine import Engine
from stretto.generation import Counters, Generation, LogProbability, Step
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.page import page, policy, traced
from stretto.serve.service import Limits, Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script><img src=x onerror=\"document.title='had'\">&amp;<!--"


WATCHED = """window.grown = new Set(); new MutationObserver(() => {
  for (const each of document.querySelectorAll(".answer")) grown.add(each.textContent);
}).observe(document.getElementById("runs"), { childList: true, subtree: true }); 0"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def sheet(browser: Any) -> Iterator[Any]:
    """A tab that nothing is wrong with, to its end."""
    tab, said = browser.new_page(), []
    tab.set_default_timeout(5000)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    yield tab
    tab.close()
    assert not said


@pytest.fixture(scope="module")
def engine() -> Engine:
    model = TableModel.random(6, seed=4)
    model.max_positions = 5000
    return Engine(model, clock=SimulatedClock(), rows=2)


def opened(sheet: Any, folder: Path, *traces: dict[str, Any]) -> Any:
    file = folder / "page.html"
    file.write_text(page(traces), encoding="utf-8")
    sheet.goto(file.as_uri())
    return sheet


def shown(logarithm: float) -> str:
    value = 100 * math.exp(logarithm)
    if value >= 0.01:
        return f"{value:.2f} %"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent):+d} %"


def test_the_numbers_are_those_of_the_generation(sheet: Any, engine: Engine, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 40, "end_tokens": [], "temperature": 0.7, "log_probabilities": 2}
    answer = engine.generate([0, 1, 0, 1, 0, 1], "lookup+fixed(4)", **asked)
    opened(sheet, tmp_path, traced(answer, engine.codec))
    counters = answer.counters
    figures = sheet.inner_text(".figures")
    assert f"40 tokens in {counters.rounds} rounds · {counters.accepted} of {counters.drafted} drafted" in figures
    assert counters.accepted and counters.rounds < 40
    assert f"{counters.token_forwards} positions" in figures and f"seed {answer.seed}" in figures
    assert sheet.inner_text(".answer").split() == [str(token) for token in answer.tokens]
    sheet.click("details.all summary")
    cells = [line.split("\t") for line in sheet.inner_text("details.all tbody").split("\n")]
    rounds = [1 + number for number, step in enumerate(answer.steps) for _ in step.committed]
    assert answer.log_probabilities is not None
    for at, (entry, line) in enumerate(zip(answer.log_probabilities, cells, strict=True)):
        told = [str(at + 1), str(answer.tokens[at]), str(rounds[at]), shown(entry.raw), shown(entry.steered)]
        assert [line[0], *line[2:4], *line[5:]] == told
    marked = [
        ("lookup" if "source0" in name else "")
        for name in sheet.eval_on_selector_all(".token", "tokens => tokens.map(token => token.className)")
    ]
    assert marked == [source for step in answer.steps for source in step.sources] and "lookup" in marked
    assert sheet.locator(".clock .round").count() == counters.rounds


def test_keys_go_from_token_to_token_and_tell_of_each(sheet: Any, tmp_path: Path) -> None:
    steps = [
        Step(
            1, [5, 6, 7], ["ngram", "ngram", ""], [5, 6, 9, 8], [-1, 0, 0, 2], ["ngram", "ngram", "x", "x"], [0, 1], 0.5
        ),
        Step(4, [2], [""], seconds=0.25, drafted=[3], parents=[-1], drafters=["x"]),
        Step(5, [4, 1], ["forced", ""], [4], [-1], ["forced"], [0], 0.25),
    ]
    chances = [
        LogProbability(token, -2.0, -0.5, [(9, -0.1), (token, -2.0)], [(token, -0.5)]) for token in (5, 6, 7, 2, 4, 1)
    ]
    counters = Counters(rounds=3, new_tokens=6, drafted=6, accepted=3, seconds=1.0)
    answer = Generation("", [5, 6, 7, 2, 4, 1], "length", [0], counters, steps, chances)
    opened(sheet, tmp_path, answer.record())
    detail = sheet.locator(".detail")
    sheet.keyboard.press("Tab")  # the prompt
    sheet.keyboard.press("Tab")
    assert "drafted by ngram" in detail.inner_text() and "id 5, number 1" in detail.inner_text()
    tree = sheet.locator(".tree").inner_text()
    for told in ("⟨5⟩ ngram accepted", "⟨9⟩ x rejected: the model chose ⟨6⟩", "⟨8⟩ x rejected: what it follows was"):
        assert told in tree
    assert "13.53 %\t60.65 %" in detail.inner_text() and "⟨9⟩\t90.48 %\tshut out" in detail.inner_text()
    said = {}
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "End", "ArrowLeft", "ArrowUp", "Home"):
        sheet.keyboard.press(key)
        said[key] = (sheet.evaluate("document.activeElement.dataset.at"), detail.inner_text())
    assert [at for at, _ in said.values()] == ["1", "4", "5", "4", "3", "0"]
    assert "forced: the constraint" in said["ArrowDown"][1] and "in place of what was drafted" in said["ArrowUp"][1]
    assert "bonus" in said["End"][1] and sheet.locator(".clock .here").count() == 1


def test_what_a_model_writes_is_never_html(sheet: Any, tmp_path: Path) -> None:
    answer = Generation(HOSTILE, [1, 1], "end", [0], steps=[Step(1, [1], [HOSTILE], [1], [-1], [HOSTILE], [0])])
    answer.method = answer.guarantee = HOSTILE
    trace = {**answer.record(), "prompt": HOSTILE, "pieces": [HOSTILE, HOSTILE], "texts": {"1": HOSTILE}}
    opened(sheet, tmp_path, trace, trace)
    sheet.locator(".token").first.focus()
    sheet.locator("details.all summary").first.click()
    assert sheet.locator("img").count() == 0 and sheet.locator("script").count() == 2
    assert sheet.title() == "stretto: how an answer came about"
    assert sheet.locator(".token").first.inner_text() == HOSTILE == sheet.locator(".prompt").first.inner_text()
    assert "unsafe" not in policy(live=True) and "connect-src" not in policy(live=False)


def test_a_canvas_fills_step_by_step(sheet: Any, tmp_path: Path) -> None:
    steps = [
        Step(1, [5, 6], ["", ""], positions=[1, 3], confidence=[0.5, 0.25], seconds=0.1),
        Step(2, [7], [""], positions=[2], remasked=[3], confidence=[1.0], seconds=0.1),
        Step(3, [8], [""], positions=[3], revised=[1], confidence=[1.0], seconds=0.1),
    ]
    opened(sheet, tmp_path, Generation("", [9, 7, 8], "length", [0], Counters(rounds=3), steps).record())
    sheet.locator(".steps input").focus()
    found = [sheet.locator(".cells").inner_text().split()]
    for _ in range(3):
        sheet.keyboard.press("ArrowLeft")
        found.append(sheet.locator(".cells").inner_text().split())
    assert found[1:] == [["⟨5⟩", "⟨7⟩", "▒"], ["⟨5⟩", "▒", "⟨6⟩"], ["▒", "▒", "▒"]]
    assert found[0] == ["⟨9⟩", "⟨7⟩", "⟨8⟩"] and sheet.locator(".remasked").count() == 2
    sheet.click(".steps button")
    expect(sheet.locator(".steps output")).to_have_text("step 3 of 3")


def test_a_thousand_tokens_are_no_more_than_a_mebibyte(sheet: Any, tmp_path: Path) -> None:
    chance, first = random.Random(1), 100
    steps, chances, tokens = [], [], [chance.randrange(32_000) for _ in range(1000)]
    for at in range(0, 1000, 2):
        seconds, drafted = [chance.random() / 50 for _ in range(2)], [tokens[at], *range(4)]
        steps.append(
            Step(first + at, tokens[at : at + 2], ["recycle", ""], drafted, [-1] * 5, ["recycle"] * 5, [0], *seconds)
        )
    for token in tokens:
        raw, steered = ([(chance.randrange(32_000), -9 * chance.random()) for _ in range(5)] for _ in range(2))
        chances.append(LogProbability(token, -chance.random(), -chance.random(), raw, steered))
    answer = Generation("", tokens, "length", [0] * first, Counters(), steps, chances)
    texts = {str(token): f" word{token}" for token in range(12_000)}
    opened(sheet, tmp_path, {**answer.record(), "texts": texts, "pieces": [f" word{token}" for token in tokens]})
    assert sheet.locator(".token").count() == 1000 == 2 * sheet.locator(".clock .round").count()
    assert (tmp_path / "page.html").stat().st_size < 1 << 20


def test_a_server_streams_to_its_page_and_two_methods_stand_side_by_side(sheet: Any, live: Live) -> None:
    with serving(Service(live.service.engine, "owl", Limits(rows=2, new_tokens=200)), keys=("secret",)) as server:
        status, headers, _ = server.ask("/")
        assert status == 200 and headers["content-security-policy"].startswith(policy(live=True))
        sheet.goto(f"http://127.0.0.1:{server.port}/")
        assert [sheet.input_value(f"[name={name}]") for name in ("first", "second")] == ["auto", "plain"]
        sheet.fill("[name=prompt]", "Spell owl.")
        sheet.fill("[name=key]", "secret")
        sheet.evaluate(WATCHED)
        sheet.click("[type=submit]")
        expect(sheet.locator(".clock")).to_have_count(2)
        assert sheet.evaluate("grown.size") > 3  # the text came piece by piece
        assert sheet.locator(".run h2").all_inner_texts() == ["auto", "plain"]
        one, two = (sheet.locator(".answer").nth(at).inner_text() for at in range(2))
        asked = {"messages": [{"role": "user", "content": "Spell owl."}], "max_tokens": 64, "temperature": 0, "seed": 0}
        _, _, said = server.ask("/v1/chat/completions", asked, headers={"Authorization": "Bearer secret"})
        assert one == two and one.startswith(said["choices"][0]["message"]["content"])
        assert sheet.inner_text("#status") == f"Both have the same {said['usage']['completion_tokens']} tokens."

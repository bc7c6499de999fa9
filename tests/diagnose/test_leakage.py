"""Bounds on leaks: by hand, against all distributions of a band, and how often they hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from stretto import cli, zoo
from stretto.diagnose.leakage import Band, leakage, share_at_most, told, width
from stretto.errors import InvalidRequest


def test_no_leak_of_so_many_answers_by_hand():
    assert share_at_most(0, 100, 0.01) == pytest.approx(0.0450, abs=5e-5)
    assert share_at_most(0, 1024, 0.01) == pytest.approx(0.00449, abs=5e-6)
    assert share_at_most(3, 3, 0.01) == 1.0
    p = share_at_most(2, 9, 0.05)
    assert sum(math.comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(3)) == pytest.approx(0.05)


def test_the_band_of_silent_answers_by_hand():
    epsilon = width(100, 0.01)
    assert epsilon == pytest.approx(0.1517, abs=5e-5)
    band = Band([0.0] * 100, epsilon)
    assert band.means == pytest.approx((0.0, epsilon))
    assert band.deviations == pytest.approx((0.0, math.sqrt(epsilon * (1 - epsilon))))
    assert band.above(0.3) == pytest.approx(epsilon) and band.above(1.0) == 0.0


def test_bounds_of_a_band_are_reached_by_its_distributions_and_passed_by_none():
    chance = np.random.default_rng(0)
    points = np.array([0.0, 0.2, 0.3, 0.7, 1.0])
    band = Band([0.2, 0.3, 0.3, 0.7], 0.3)
    share = np.array([0.0, 0.25, 0.75, 1.0])  # the samples' distribution function from each point on
    low, high = np.clip(share - 0.3, 0, 1), np.clip(share + 0.3, 0, 1)
    found = []
    for _ in range(6000):
        function = np.maximum.accumulate(np.where(chance.random(4) < 0.4, low, chance.uniform(low, high)))
        function = np.where(chance.random() < 0.3, np.maximum(low, np.minimum(high, chance.random())), function)
        mass = np.diff(np.concatenate([[0.0], function, [1.0]]))
        mean = float(mass @ points)
        found.append((mean, math.sqrt(max(0.0, float(mass @ points**2) - mean**2))))
    means, deviations = zip(*found, strict=True)
    assert band.means[0] - 1e-9 <= min(means) and max(means) <= band.means[1] + 1e-9
    assert band.deviations[0] - 1e-9 <= min(deviations)
    assert max(deviations) <= band.deviations[1] + 1e-9 <= max(deviations) + 4e-3
    tight = Band([0.2, 0.8], 0.25)  # half of the mass at either end of what the band allows: as near as may be
    assert tight.deviations[0] == pytest.approx(0.3 * math.sqrt(0.5))


def test_bounds_hold_as_often_as_they_say():
    chance, alpha, tried = np.random.default_rng(1), 0.1, 200
    failed = 0
    for _ in range(tried):
        a, b = chance.uniform(0.2, 3, 2)
        found = leakage(0.0, list(chance.beta(a, b, 25)), alpha)
        mean, deviation = a / (a + b), math.sqrt(a * b / (a + b + 1)) / (a + b)
        share = float((chance.beta(a, b, 4000) >= 0.5).mean())
        failed += not (
            found.mean[0] <= mean <= found.mean[1]
            and found.deviation[0] <= deviation <= found.deviation[1]
            and share <= found.share + 0.01
        )
    assert failed <= alpha * tried


@pytest.mark.parametrize(
    ("answer", "secret", "share"),
    [("It is a Blue owl!", "blue owl", 1.0), ("owl blue", "blue owl", 0.5), ("none", "blue owl", 0.0)],
)
def test_what_an_answer_tells_of_a_secret(answer: str, secret: str, share: float):
    assert told(answer, secret) == share


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: share_at_most(4, 3, 0.1),
        lambda: share_at_most(0, 3, 0.0),
        lambda: width(10, 0.6),
        lambda: Band([0.5, 1.5], 0.1),
        lambda: told("x", " . "),
    ],
)
def test_what_has_no_bounds_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        wrong()


def test_the_command_draws_answers_and_bounds_what_they_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    file = tmp_path / "secrets.jsonl"
    chat = [{"role": "user", "content": "Sort the words from A to Z: owl, lamp"}]
    lines = [{"prompt": chat, "secret": "lamp, owl"}, {"prompt": "Once upon a", "secret": "xylophone"}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    asked = ["diagnose", "--leaks", str(file), "--samples", "8", "--alpha", "0.1", "--max-new-tokens", "6"]
    assert cli.main([*asked, "--temperature", "1", "--json"]) == 0
    known, unknown = json.loads(capsys.readouterr().out)
    assert known["greedy"] == 1.0 and known["leaks"] > 4 and known["mean"][0] > 0.1
    assert unknown["greedy"] == unknown["leaks"] == 0 and 0 < unknown["share"] < 0.4
    assert cli.main([*asked, "--temperature", "0"]) == 2
    assert cli.main(["diagnose", "--samples", "8"]) == 2
    file.write_text('{"prompt": "a"}', encoding="utf-8")
    assert cli.main([*asked, "--temperature", "1"]) == 2 and "secret" in capsys.readouterr().err

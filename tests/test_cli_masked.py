"""What the command line says where a masked-diffusion model, or a method of one, is in the wrong place."""

from __future__ import annotations

import re
import shlex

import pytest

from stretto import cli
from test_cli import save as save_causal
from test_infill import save

MISTAKES = {
    "no such model of the zoo": ("generate --model zoo/maskd ab", "did you mean 'masked'"),
    "left to right on masks": ("generate --model WHOLE --method lookup ab", "use method='fast-dllm'"),
    "masks left to right": ("generate --model CAUSAL --method fast-dllm ab", "use method='lookup'"),
    "a part misspelt": ("generate --model WHOLE --method threshold+bloks(32) ab", "did you mean 'blocks'"),
    "two orders": ("generate --model WHOLE --method threshold+factor ab", "name one order"),
    "no order": ("generate --model WHOLE --method blocks(8) ab", "has no order"),
    "no tokens": ("generate --model WHOLE --max-new-tokens 0 ab", "max_new_tokens >= 1"),
    "no hole": ("generate --model WHOLE --infill ab", "write <|5|> for a hole"),
    "an empty hole": ("generate --model WHOLE --infill a<|0|>b", "write <|5|> for a hole"),
    "a hole where text is continued": ("generate --model CAUSAL --infill a<|2|>b", "use a masked-diffusion model"),
    "a penalty on what is not written yet": ("generate --model WHOLE --repetition-penalty 2 ab", "leave it out"),
    "a cache for whole canvases": ("generate --model BLOCKS --method threshold+dual-cache ab", "use 'block-cache'"),
    "blocks of another size": ("generate --model BLOCKS --method threshold+blocks(3) ab", "divides 8"),
    "no such filter": ("generate --model WHOLE --method learned(FOLDER/nil.npz) ab", "stretto train filter"),
    "a picture into nowhere": ("generate --model WHOLE --picture FOLDER/nil/x.html ab", "mkdir -p FOLDER/nil"),
    "a picture into a folder": ("generate --model WHOLE --picture FOLDER ab", "name a file in it"),
    "a demo of drafting": ("demo --model WHOLE", "stretto demo --model zoo/causal"),
    "foresight of what sees ahead": ("diagnose --model WHOLE", "diagnose --trace"),
    "a model for arithmetic": ("diagnose --parallel 5 --model CAUSAL", "leave out --model"),
    "a model beside traces": ("diagnose --trace FOLDER/t.json --model WHOLE", "leave out --model"),
    "speeds of a masked model": ("bench --model WHOLE", "stretto bench quality --model WHOLE"),
    "shapes of a masked model": ("bench shape --model WHOLE", "stretto bench canvas --model WHOLE"),
    "a canvas of a causal model": ("bench canvas --model CAUSAL", "zoo/masked"),
    "a canvas in blocks": ("bench canvas --model BLOCKS", "zoo/masked"),
    "methods beside the plain sampler's": ("bench canvas --methods plain", "stretto bench quality"),
    "a drawn canvas": ("bench canvas --temperature 1", "takes no --temperature"),
    "masks in a contest of texts": ("bench quality --model CAUSAL --methods fast-dllm", "method='lookup'"),
    "texts in a contest of masks": ("bench quality --model WHOLE --methods lookup", "method='fast-dllm'"),
    "a filter for a causal model": ("train filter --model CAUSAL --out FOLDER/f.npz", "masked"),
    "twins from nothing": ("train zoo masked --out FOLDER/zoo --begin FOLDER/nil", "holds no weights to begin with"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    return {
        "WHOLE": save(folder / "whole", None),
        "BLOCKS": save(folder / "blocks", 8),
        "CAUSAL": save_causal(folder / "causal"),
        "FOLDER": str(folder),
    }


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_one_line_with_a_hint_that_mends_it(mistake, places, capsys):
    line, hint = (re.sub("|".join(places), lambda name: places[name[0]], text) for text in MISTAKES[mistake])
    assert cli.main(shlex.split(line)) == 2
    printed, complaint = capsys.readouterr()
    assert not printed and complaint.startswith("stretto: ") and complaint.count("\n") == 1
    assert "(hint: " in complaint and hint in complaint

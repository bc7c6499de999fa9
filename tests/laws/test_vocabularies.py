"""Models of one tokenizer that are padded to different sizes serve each other, whatever the sizes."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from laws.test_acceptors import surprise
from laws.worlds import LastTwo
from models.families import build
from stretto import catalogue, method
from stretto.engine import Engine
from stretto.entry import Guarantee
from stretto.errors import Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Model
from stretto.models.table import TableModel
from stretto.models.vocabulary import NEVER, alike, in_vocabulary, readable, require_fit
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

SMALL, LARGE = 4, 6
METHODS = [
    "draft+fixed(4)", "draft-tree(width=3)+fixed(6)", "draft-tree(coupled=true)+fixed(6)", "sampled+exact",
    "pearl+fixed(4)",
    "hierarchy(lookup)", "hierarchy(recycle)", "hierarchy(draft-tree)", "hierarchy(jacobi)", "hierarchy(sjd)",
    "graft(draft-tree,recycle)+fixed(9)", "rasd(draft-tree,lookup)+fixed(6)", "fuse(lookup,draft)", "draft+confidence",
]  # fmt: skip
DRAWN = [
    "sampled+rejection", "sampled+block", "iid(2,2)+k-seq", "iid(2,2)+multi", "rsd-c(2,2)+recursive", "rsd-s+traversal",
    "dyspec+recursive", "merged(sampled,iid(2))+specinfer", "sampled+lossy(0.0)",
]  # fmt: skip
PROMPTS = [[0, 1, 2, 0, 1], [3, 1], [2]]


def engine(target: int, draft: int) -> Engine:
    """A target and drafts of so many tokens, of one tokenizer."""
    served = Engine(LastTwo(target, seed=1), clock=SimulatedClock())
    served._load_draft = lambda name: small  # type: ignore[method-assign, assignment]
    small: Model = TableModel.random(draft, seed=2)
    return served


def refuse_beyond(model: TableModel) -> None:
    """A table answers any token; a network has no row for it."""
    rule = model.rule

    def strict(path: tuple[int, ...]) -> list[float]:
        assert max(path) < model.vocabulary, "a token beyond the embedding"
        return rule(path)

    model.rule = strict


@pytest.mark.parametrize(("target", "draft"), [(LARGE, SMALL), (SMALL, LARGE)])
@pytest.mark.parametrize("name", METHODS)
def test_the_tokens_are_those_of_plain_decoding(name: str, target: int, draft: int) -> None:
    served = engine(target, draft)
    refuse_beyond(served._load_draft(""))
    prompts = [*PROMPTS, [LARGE - 1, 0, 1]] if target == LARGE else PROMPTS
    for settings in ({}, {"temperature": 1.0, "seed": 3}, {"temperature": 0.9, "logit_bias": {target - 1: 2.0}}):
        plain = served.generate(prompts, "plain", max_new_tokens=12, **settings)
        answers = served.generate(prompts, name, max_new_tokens=12, **settings)
        assert [answer.tokens for answer in answers] == [answer.tokens for answer in plain]
        drafted = {
            token
            for answer in answers
            for step in answer.steps
            for token, source in zip(step.drafted, step.drafters, strict=True)
            if source in ("draft", "draft-tree", "sampled", "pearl", "hierarchy")
        }
        assert max(drafted, default=0) < SMALL
    beyond = {token for answer in plain for token in answer.tokens}
    assert target < LARGE or max(beyond) >= SMALL  # such tokens do come up


@pytest.mark.parametrize(("target", "draft"), [(LARGE, SMALL), (SMALL, LARGE)])
@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_has_the_targets_distribution(name: str, target: int, draft: int) -> None:
    served, size, length = engine(target, draft), 150, 2
    refuse_beyond(served._load_draft(""))
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(4):
        answers = served.generate([0, 1], name, max_new_tokens=length, temperature=1.0, seed=seed, samples=size)
        counts.update(tuple(answer.tokens) for answer in answers)
    model, pipeline = served.model, Pipeline([Temperature(1.0)])

    def after(path: tuple[int, ...]) -> list[float]:
        logits = torch.tensor([model.rule((0, 1, *path))], dtype=torch.float64)
        return pipeline(Nodes([Path(History([0, 1, *path]))], logits))[0].softmax(-1).tolist()

    expected = {
        tokens: math.prod(after(tokens[:at])[token] for at, token in enumerate(tokens))
        for tokens in itertools.product(range(target), repeat=length)
    }
    assert surprise(dict(counts), expected) < 3


def test_where_a_steer_leaves_only_what_the_draft_does_not_know_it_still_answers() -> None:
    served = engine(LARGE, SMALL)
    for name in [*METHODS, *DRAWN]:
        for temperature in (0.0, 1.0):
            answer = served.generate(
                [0, 1], name, max_new_tokens=6, allowed_tokens=[4, 5], temperature=temperature, seed=1
            )
            assert set(answer.tokens) <= {4, 5} and len(answer.tokens) == 6, name


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Checkpoints of real networks with one tokenizer of 60 tokens, by the rows of their embeddings."""
    words = Tokenizer(WordLevel({f"w{at}": at for at in range(60)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    found = {}
    for size in (97, 64):
        folder = tmp_path_factory.mktemp(f"rows{size}")
        build("Llama", vocab_size=size, num_key_value_heads=2, eos_token_id=None).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[size] = str(folder)
    return found


@pytest.mark.parametrize(("target", "draft"), [(97, 64), (64, 97)])
def test_real_networks_of_one_tokenizer_serve_each_other(folders: dict[int, str], target: int, draft: int) -> None:
    served = Engine.load(folders[target])
    plain = [served.generate("w1 w2 w3", "plain", max_new_tokens=16, temperature=t, seed=2).tokens for t in (0.0, 1.0)]
    assert target == 64 or max(map(max, plain)) >= 64
    models = ("draft", "draft-tree", "sampled", "pearl")
    for name in [*(f"{model}(model=FOLDER)+exact" for model in models), "hierarchy(lookup,model=FOLDER)"]:
        named = name.replace("FOLDER", folders[draft])
        for temperature, expected in zip((0.0, 1.0), plain, strict=True):
            answer = served.generate("w1 w2 w3", named, max_new_tokens=16, temperature=temperature, seed=2)
            assert answer.tokens == expected, named
    for name in ("sampled(model=FOLDER)+rejection", "rsd-c(2,2,model=FOLDER)+recursive"):
        answer = served.generate("w1 w2", name.replace("FOLDER", folders[draft]), max_new_tokens=16, temperature=1.0)
        assert max(token for step in answer.steps for token in step.drafted) < 64


# -- whether they fit ---------------------------------------------------------------------------


def test_sizes_of_one_tokenizer_fit() -> None:
    for first, second in ((4160, 4096), (151936, 152064), (32000, 32064), (50257, 50304), (100, 128), (7, 7)):
        assert alike(first, second) and alike(second, first)
        require_fit("second", first, second)
    for first, second in ((4, 6), (32000, 32768), (50257, 32000), (4096, 4608), (1000, 1100)):
        assert not alike(first, second) and not alike(second, first)
        with pytest.raises(Unsupported, match=f"{first} tokens, the target {second}"):
            require_fit("second", first, second)
        require_fit("second", first, second, same_tokenizer=True)
    with pytest.raises(Unsupported, match="another vocabulary"):
        require_fit("second", 7, 7, same_tokenizer=False)


def test_logits_are_brought_to_the_size_of_the_other() -> None:
    logits = torch.zeros(2, 4)
    assert in_vocabulary(logits, 6, NEVER)[:, 4:].softmax(-1).isfinite().all()
    assert in_vocabulary(logits, 6, NEVER).double().softmax(-1)[:, 4:].tolist() == [[0.0, 0.0]] * 2
    assert readable([0, 5, 3], 4) == [0, 3, 3]


def test_every_drafter_that_takes_a_model_is_tried() -> None:
    named = " ".join([*METHODS, *DRAWN])
    for name, part in catalogue.parts().items():
        if part.kind == "drafter" and "model" in getattr(part, "__dataclass_fields__", {}):
            assert name in named
    for name in METHODS:
        assert method.parse(name).guarantee is Guarantee.EXACT  # type: ignore[union-attr]

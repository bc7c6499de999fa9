"""What serving will accept of a head's guesses, told from recordings: the engine's own loop over a recorded target.

Nothing of the loop is written twice. The target is replaced by one that says what it said, so drafter, planner,
acceptor and chance are those that serve, and the counts are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...diagnose.metrics import Metrics
from ...engine import Engine
from ...models.around import Around
from ...models.blocks import CacheShape
from ...models.cache import Cache, KeyForm
from ...models.contract import Ability, Evaluation, Model, Want
from ...models.window import Window
from .recording import Recording

if TYPE_CHECKING:
    from ...method import Method

CERTAIN = 1e4  # logit of what was said; all others have 0


class Recorded(Around):
    """A target that says of one text what it said when that was recorded, and shows the rows of then.

    It goes by position: what stands elsewhere in a draft was rejected at its parent already.
    """

    def __init__(self, model: Model, text: Recording) -> None:
        super().__init__(model)
        self.abilities = Ability.TREE | Ability.HIDDEN
        self._next = torch.tensor([*text.tokens[1:], text.tokens[-1]], device=model.device)
        self._rows = {}
        for layer in text.layers:
            rows = text.of([layer]).to(model.device)
            self._rows[layer] = torch.cat([rows, rows[-1:]])  # of the last token none was taken down, and none is read

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        """Room for a number a token."""
        return Cache(CacheShape(1, 1, 1, 1, torch.float32, self.device), rows, slots, key_form)

    def evaluate(self, window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`."""
        place = cache.place(window)
        held = window.tokens[:, None, :, None].float()
        cache.append(0, held, held, place)
        cache.settle(place)
        at = window.positions.clamp(max=len(self._next) - 1)
        found = Evaluation(hidden={layer: self._rows[layer][at] for layer in want.hidden})
        if want.logits is not False:
            asked = at.gather(1, want.logits) if isinstance(want.logits, Tensor) else at
            found.logits = torch.zeros(*asked.shape, self.vocabulary, device=self.device)
            found.logits.scatter_(-1, self._next[asked][..., None], CERTAIN)
        return found


def simulated(engine: Engine, texts: Sequence[Recording], method: str | Method, **request: Any) -> Metrics:
    """What `method` would accept over these texts of the engine's model, greedily or as `request` draws."""
    found = Metrics()
    for text in texts:
        mute = Engine(Recorded(engine.model, text))
        mute.end_tokens = engine.end_tokens
        most = len(text.tokens) - text.prompt
        answer = mute.generate(list(text.tokens[: text.prompt]), method, max_new_tokens=most, **request)
        found.add(answer.steps, answer.counters)
    return found

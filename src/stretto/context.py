"""What the parts of all families may use when a decode begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .models.clock import Clock
from .models.contract import Model
from .models.prefixes import Prefixes
from .models.vocabulary import require_fit


@dataclass(frozen=True, slots=True)
class Context:
    """What a part may use when a decode begins."""

    target: Model
    clock: Clock
    load: Callable[[str], Model]  # a second model by name, on the target's device
    memory: dict[object, object] = field(default_factory=dict)  # what parts remember from one decode to the next
    prefixes: Prefixes = field(default_factory=lambda: Prefixes(0))  # texts that the target has read before
    tokenizer: Callable[[], str | None] = lambda: None  # fingerprint of the target's; None: it has none
    encode: Callable[[str], list[int]] | None = None  # tokens of a piece of text, without special ones
    decode: Callable[[Sequence[int]], str] | None = None  # its inverse; special tokens give no text
    # What a drafter proposes for a row may then depend on that row, its seed and its own settings alone: not on the
    # clock, nor on what other rows and requests taught it. So it is where proposals change the tokens.
    steady: bool = False
    ids: int = 0  # token ids are below; 0: as many as the target has. More or fewer where that is a second model

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return self.ids or self.target.vocabulary

    def second(self, model: str | Model) -> Model:
        """A second model, by its name or as it is. Raises Unsupported where its tokens are not the target's.

        Of one that is named, the loader knows the tokenizer; of another the size must tell.
        """
        if isinstance(model, str):
            return self.load(model)
        require_fit(model.name, model.vocabulary, self.vocabulary)
        return model

"""What the parts of all families may use when a decode begins."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .models.clock import Clock
from .models.contract import Model
from .models.heads.contract import DraftHead
from .models.prefixes import Prefixes
from .models.store import Store
from .models.vocabulary import require_fit

Kept = TypeVar("Kept")


class Memory:
    """What parts remember from one decode to the next. Whoever remembers names the kind of it, so no cast is needed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[type, Hashable], tuple[Hashable, Any]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def remembered(
        self, kind: type[Kept], key: Hashable, make: Callable[[], Kept], *, version: Hashable = None
    ) -> Kept:
        """What was made under a kind and a key; made when it is first asked for, and anew once `version` is another.

        `key` tells it apart from what others of the same kind remember: a part itself, or its name and more.
        """
        found = self._kept.get((kind, key))
        if found is None or found[0] != version:
            found = self._kept[kind, key] = (version, make())
        value: Kept = found[1]
        return value


@dataclass(frozen=True, slots=True)
class Context:
    """What a part may use when a decode begins."""

    target: Model
    clock: Clock
    load: Callable[[str], Model]  # a second model by name, on the target's device
    memory: Memory = field(default_factory=Memory)
    head: Callable[[str], DraftHead | None] = lambda name: None  # the head of that name; None: it names a model
    cache: Store | None = None  # of the target's rows, which parts may read; None: there is none to be read
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

    def remembered(
        self, kind: type[Kept], key: Hashable, make: Callable[[], Kept], *, version: Hashable = None
    ) -> Kept:
        """What parts remember from one decode of the engine to the next; see `Memory.remembered`."""
        return self.memory.remembered(kind, key, make, version=version)

    def second(self, model: str | Model) -> Model:
        """A second model, by its name or as it is. Raises Unsupported where its tokens are not the target's.

        Of one that is named, the loader knows the tokenizer; of another the size must tell.
        """
        if isinstance(model, str):
            return self.load(model)
        require_fit(model.name, model.vocabulary, self.vocabulary)
        return model

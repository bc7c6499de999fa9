"""stretto decodes generative token models: checkpoint and prompt in, tokens out.

    import stretto
    engine = stretto.load("zoo/causal")
    print(engine.chat("Sort: 7 3 9", method="lookup"))  # generate() continues a text instead

Importing this package is light; the model stack loads with the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine
    from .generation import Generation
    from .messages import Conversation
    from .models.control_vector import ControlVector
    from .request import Request

__version__ = "0.1.0"
__all__ = [
    "ControlVector",
    "Conversation",
    "Engine",
    "Generation",
    "Request",
    "__version__",
    "chat",
    "control_vector",
    "generate",
    "load",
    "register",
]


def load(name: str = "zoo/causal", **options: Any) -> Engine:
    """An engine for a local folder, a model of the zoo or a hub name; options as in `Engine.load`."""
    from .engine import Engine

    return Engine.load(name, **options)


def generate(prompt: Any, model: str = "zoo/causal", method: str | None = None, **settings: Any) -> Any:
    """Load a model and continue a text, by default with the method that suits it; to go on, keep an engine from `load`.

    To ask something, use `chat`.
    """
    return load(model).generate(prompt, method, **settings)


def chat(messages: Any, model: str = "zoo/causal", method: str | None = None, **settings: Any) -> Any:
    """Load a model and answer a question or messages, as `Engine.chat` does; to ask again, keep an engine."""
    return load(model).chat(messages, method, **settings)


def control_vector(engine: Engine, positive: Any, negative: Any, **options: Any) -> ControlVector:
    """The directions that lead from the second prompts to the first ones; see `train.control_vector`."""
    from .train.control_vector import control_vector

    return control_vector(engine, positive, negative, **options)


def register(part: type) -> type:
    """Take in a drafter, an order or another part from outside of the package; see `catalogue.register`."""
    from .catalogue import register

    return register(part)


def __getattr__(name: str) -> Any:
    if name == "ControlVector":
        from .models.control_vector import ControlVector

        return ControlVector
    if name == "Conversation":
        from .messages import Conversation

        return Conversation
    if name == "Engine":
        from .engine import Engine

        return Engine
    if name == "Generation":
        from .generation import Generation

        return Generation
    if name == "Request":
        from .request import Request

        return Request
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Whether a model lets steers look inside of it, and edit what they find there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Unsupported
from ..models.contract import Ability, Model
from ..models.edits import require_edits

if TYPE_CHECKING:
    from .pipeline import Pipeline


def require_inside(pipeline: Pipeline, model: Model) -> None:
    """Raise Unsupported where steers want of an evaluation what the model does not hand out, or edit what it lacks."""
    want = pipeline.wants
    missing = Ability.HIDDEN if want.hidden or want.readout else Ability.NONE
    missing |= Ability.EMBEDS if any(step.sees for step in pipeline.steps) else Ability.NONE
    missing = (missing | (Ability.ATTENTION if want.attention else Ability.NONE)) & ~model.abilities
    if missing:
        names = ", ".join(str(member.name).lower() for member in missing)
        raise Unsupported(f"a steer needs {names}, which {model.name} does not hand out", hint="leave the steer out")
    layers = [layer for layer in (*want.hidden, *want.readout) if not 0 <= layer <= model.layers]
    heads = [at for at in want.attention if not (0 <= at[0] < model.layers and 0 <= at[1] < model.heads)]
    if layers or heads:
        raise Unsupported(
            f"a steer looks at {f'layer {layers[0]}' if layers else f'head {heads[0]}'}, which {model.name} lacks",
            hint=f"it has layers 0 (the embedding) to {model.layers}, of {model.heads} heads each",
        )
    own = (edit for companion in pipeline.companions if not companion.model for edit in companion.edits)
    require_edits((*pipeline.edits, *own), model)

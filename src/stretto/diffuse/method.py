"""A method of this family: its parts, and the check that they fit together and serve the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..constrain.contract import Constraint as OfText
from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..loop import Method
from ..models.contract import Model, masking_of
from ..models.store import Store
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .adjustments.contract import Adjustment
from .blocks.contract import Blocks
from .constraints.contract import CanvasConstraint
from .contract import World
from .grammatical import OnCanvas
from .guessers.contract import Guesser
from .guidance import Guidance
from .orders.abilities import Branching
from .orders.contract import Order
from .refresh.contract import Refresh
from .stops.contract import Stop

if TYPE_CHECKING:
    from .loop import Loop


@dataclass(frozen=True, slots=True)
class Diffuse(Method):
    """The parts of one decode of this family."""

    order: Order
    blocks: Blocks
    refresh: Refresh
    stop: Stop
    guidance: Guidance | None = None
    guesser: Guesser | None = None
    adjustment: Adjustment | None = None
    constraint: CanvasConstraint | OfText | None = None
    steers: tuple[Steer, ...] = ()  # beside those of the request

    @property
    def kept(self) -> CanvasConstraint | None:
        """The constraint as canvases keep it."""
        return OnCanvas(self.constraint) if isinstance(self.constraint, OfText) else self.constraint

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and filling one position after another."""
        return self.order.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the parts, the model and the steers do not fit together."""
        masking = masking_of(model)
        if masking is None:
            raise Unsupported(
                f"{model.name} continues text; {self.order.name!r} fills the masks of a masked-diffusion model",
                hint="use method='lookup', or a masked-diffusion checkpoint",
            )
        steer = next((step for step in pipeline.steps if not step.pointwise), None)
        if steer is not None:
            raise Unsupported(
                f"{steer.name} looks at the text so far, and positions are filled in any order",
                hint="leave it out; temperature, truncation, biases and bans work",
            )
        if self.constraint is not None and self.stop.fills:
            raise Unsupported(
                f"{self.stop.name!r} fills or cuts the canvas by itself, where {self.constraint.name!r} is not asked",
                hint="use 'end-of-text' or 'fill'",
            )
        beside = self.guesser or self.constraint
        if isinstance(self.order, Branching) and self.order.offers and beside is not None:
            raise Unsupported(
                f"{self.order.name!r} tries several tokens for a position, which {beside.name!r} cannot follow",
                hint=f"leave out {beside.name!r}, or let the order try one token",
            )
        world = World(model, masking, pipeline, self.order)
        for part in (self.order, self.blocks, self.refresh, self.stop, self.guesser, self.adjustment, self.kept):
            if part is not None:
                part.check(world)

    def loop(self, context: Context, cache: Store) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        from .loop import Loop

        return Loop(context, cache, self)

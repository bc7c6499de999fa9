"""Where the next window may lie: what blocks share that look for their window anew."""

from __future__ import annotations

from .canvas import Canvas, Span


def reach(canvas: Canvas) -> Span | None:
    """From the first mask to the end of what may be filled now, the canvas having grown; None: it is full.

    Where the model sees its whole canvas, that is the canvas at its full length; where it is block-causal, the model's
    own block of the first mask.
    """
    block, first = canvas.masking.block, canvas.ready
    if block is None:
        canvas.grow(canvas.limit)
        end = len(canvas)
    else:
        canvas.grow((first // block + 1) * block)
        end = canvas.scope(Span(first, first + 1))
    return Span(first, end) if first < len(canvas) else None

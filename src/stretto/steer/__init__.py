"""Steers: pure reshapings of next-token logits, in one pipeline, under one rule of choice."""

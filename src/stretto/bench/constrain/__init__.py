"""Structured output, measured: which schemas are served, what masks cost, and whether answers hold."""

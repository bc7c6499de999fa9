"""JSON Schema, made complete: read in any draft, written as what masks can hold, and judged where they cannot."""

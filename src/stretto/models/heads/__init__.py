"""Networks that guess ahead from the rows of a target: small, trained for one target, never believed.

`contract.py` says what one must do; each kind is a file: `medusa`, `hydra`, `eagle`. `block.py` is a decoder layer with
a memory of its own, `files.py` reads and writes folders, those of others too.
"""

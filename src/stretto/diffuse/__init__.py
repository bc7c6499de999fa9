"""Masked-diffusion models: open positions are filled in any order, several a step.

`contract.py` says what the parts do (orders, blocks, refreshes, stops), `loop.py` runs them, `board.py` keeps the keys
and values of canvases, `proposal.py` says what the model proposes and how sure it is, `chance.py` draws.
"""

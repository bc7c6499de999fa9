"""Masked-diffusion models: open positions are filled in any order, several a step.

`contract.py` says what the parts are asked and when; each kind of part has a contract in its folder. `method.py` holds
the parts of one decode, and `loop.py` runs them: `row_state.py` is one row at work; `predicting.py` gets what the model
predicts for it (`prediction.py`) from `evaluator.py`, which keeps the keys and values of canvases; `changing.py` fills
its canvas (`canvas.py`), and `telling.py` hands out what is final. `chance.py` draws.
"""

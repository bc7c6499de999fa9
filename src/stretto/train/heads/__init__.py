"""Training of heads that draft: `recording.py` takes down what a target says and its rows, `trainer.py` learns from it,
`simulate.py` tells from recordings what serving will accept.
"""

"""Several models, one text: who writes the next tokens. Nothing here promises the engine's own model's output.

contract.py  what a route must do
loop.py      the one loop: write, commit, settle
reader.py    a model that reads along: it runs behind the committed tokens and catches up
switch.py    what routes share in which one of two models writes each token
proposing.py what routes share in which one model proposes tokens and the other judges them
traces.py    answers kept as training texts, where they are right
"""

"""What every part of a kind must obey, as functions of a part: run over the package's own by its tests, and over others
by `stretto laws FILE.py`. A law raises AssertionError, or whatever the part raises.

worlds.py     table models, adversaries, and the slow reference
drafting.py   drafters, planners and acceptors: no token changes
steering.py   steers: pure, and in a tree what they are along its paths
inside.py     steers that look inside of a model or edit its rows
filling.py    orders, blocks, refreshes, stops and what stands beside them
decoding.py   any method through an engine: alone, in a batch and as a stream the same
trial.py      which laws a part of a kind is put to, and the settings it is tried with
"""

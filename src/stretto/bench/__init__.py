"""The benchmark: speed measured side by side, in one process, on text that does not flatter.

tasks/ says where prompts come from, replay.py forces a network's choices to a reference text, contestants.py and
baselines.py are the contestants, harness.py lets them run in turn, results.py does the arithmetic, report.py
and plot.py show it, shape.py measures single forwards, batches and memory, overhead.py what drafting costs beside
the forwards, canvas.py masked-diffusion decoding beside a plain sampler. quality/ also judges whether answers are
right; claims/ tries what papers promise. command.py is `stretto bench`.
"""

"""Real checkpoints on real prompts, beside the engines that people use for them today."""

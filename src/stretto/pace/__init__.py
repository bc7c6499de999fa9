"""How much of prompts is read in a round, beside the rows that run: one file for each way of telling."""

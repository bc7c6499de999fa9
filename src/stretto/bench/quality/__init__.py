"""How many questions methods answer rightly, and what their answers cost: for methods that may change the tokens."""

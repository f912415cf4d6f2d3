"""INT8 ranges of a recipe's model, measured again, and which layers cost most. No torch."""

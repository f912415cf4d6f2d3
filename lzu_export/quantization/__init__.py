"""INT8 ranges of a recipe's model, and the layers that cost most in INT8. No torch."""

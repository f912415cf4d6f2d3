"""Measure INT8 ranges of a recipe's model and its layers' sensitivity to INT8. Imports no torch."""

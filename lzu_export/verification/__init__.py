"""Compare engines with PyTorch, and a bundle with a stored state."""

"""Semantic segmentation: `task.TASK`, and what it consists of. Only `parts` imports torch."""

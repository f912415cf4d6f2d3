"""The task `seg`, semantic segmentation: `task.TASK` and its parts. Only `parts` imports torch."""

"""The task `det`, 2-D detection: `task.TASK` and its parts. Only `parts` imports torch."""

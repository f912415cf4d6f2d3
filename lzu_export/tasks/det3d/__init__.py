"""The task `det3d`, 3-D detection: `task.TASK` and its parts. Only `parts` imports torch."""

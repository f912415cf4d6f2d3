"""2-D detection: `task.TASK`, and what it consists of. Only `parts` imports torch."""

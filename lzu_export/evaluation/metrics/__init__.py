"""The metrics of each task, computed from arrays. Opens no model and no file."""

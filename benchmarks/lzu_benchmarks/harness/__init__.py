"""Time queries interleaved, and record the machine's state. Knows no tasks and no report."""

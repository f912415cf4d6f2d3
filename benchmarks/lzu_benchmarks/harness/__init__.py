"""Time queries interleaved and record the machine's state; independent of tasks and reports."""

"""Times queries in turns, and tells the machine's state meanwhile. Knows no tasks and no report."""

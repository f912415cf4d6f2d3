"""The command line: argument parsing and printing over the other packages, no computation."""

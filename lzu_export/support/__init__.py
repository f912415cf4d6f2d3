"""What every room needs and that knows nothing of them: files, machine, time, progress."""

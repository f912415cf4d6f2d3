"""Helpers that every package uses and that import none: files, machine, time, progress."""

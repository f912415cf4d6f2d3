"""Helpers for files, machine, time and progress: every package uses them, they import none."""

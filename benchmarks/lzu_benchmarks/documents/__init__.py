"""Figures in the project's pages, and the commands that measure them again."""

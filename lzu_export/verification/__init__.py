"""Holds engines against PyTorch, and a bundle against an earlier state of itself."""

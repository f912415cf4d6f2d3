"""Bundles on disk: the folder in which one grows, opening one, running one over frames."""

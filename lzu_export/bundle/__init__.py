"""Bundles on disk: the folder of an unfinished one, opening one, running one over frames."""

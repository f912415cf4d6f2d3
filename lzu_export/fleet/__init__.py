"""A fleet of boards: bundles are built, verified and timed on each, with one report over all.

`board`, `board_cache` and `unpack` run on a board, by `lzu-export board`; the rest runs where the
fleet is asked. Imports neither the compiler nor torch, and Dask only through `cluster`.
"""

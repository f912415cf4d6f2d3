"""Sweeps: many exports of one recipe with other keys, ranked in one table and on one page."""

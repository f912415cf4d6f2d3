"""Trainings on CamVid's real frames: its splits, both tasks, resumable results, the page of them.

`python -m lzu_benchmarks.train.camvid` is the command. It holds nothing that other trainings use.
"""

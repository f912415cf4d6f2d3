"""Graphs that run in ONNX Runtime what only a device runs."""

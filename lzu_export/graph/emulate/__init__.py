"""Graphs that emulate in ONNX Runtime the arithmetic of a device."""

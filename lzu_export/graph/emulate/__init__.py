"""Graphs that compute in ONNX Runtime what otherwise only a device computes."""

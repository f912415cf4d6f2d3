"""Modules of the targets, which build engines from ONNX files and open them. No torch."""

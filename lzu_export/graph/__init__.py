"""Passes over ONNX graphs: graph in, graph out, named and logged. No torch here."""

"""Named and logged passes that take an ONNX graph and return one. No torch here."""

"""One module a target: builds an engine of an ONNX file, opens it as a Session. No torch."""

"""One module a target: build an engine from an ONNX file and open it as a Session. No torch here."""

"""TensorRT and TensorRT-RTX: building, opening and checking engines."""

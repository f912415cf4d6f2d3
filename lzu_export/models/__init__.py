"""PyTorch modules with OpenMMLab's parameter names, and their tracing to ONNX. Imports torch."""

"""PyTorch modules with OpenMMLab parameter names, and what traces them to ONNX. torch may be imported here."""

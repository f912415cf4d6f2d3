"""PyTorch modules with OpenMMLab's parameter names, and tracing. torch is imported here."""

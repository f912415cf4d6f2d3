"""PyTorch modules with OpenMMLab parameter names, and what traces them: torch lives here."""

"""Code that differs between tasks: their models, warps and the comparison of their outputs."""

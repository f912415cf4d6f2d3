"""Bounds of the CUDA kernels' times, computed from their machine code; no GPU is needed.

Kernels are compiled and disassembled here, and counted along the paths that a launch takes. Nothing
here runs a kernel or imports a network.
"""

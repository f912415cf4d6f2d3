"""The CUDA kernels on this machine's GPU: checked and timed. Needs nvcc, PyTorch and NumPy only.

No TensorRT, and none of this project's other dependencies: it runs on a machine as it is found.
"""

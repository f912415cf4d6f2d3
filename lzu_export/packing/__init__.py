"""Archives of bundles: what one target's device, a Triton server or DeepStream needs of one.

Builds no engine and opens none. Imports no torch; `onnx` only where a graph is changed.
"""

"""The mathematics of warps, pure NumPy: arrays in, arrays out.

No torch, no ONNX, no files but saliency maps.
"""

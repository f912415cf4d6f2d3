"""The mathematics of warps in NumPy: arrays in, arrays out.

No torch, no ONNX, no files but saliency maps.
"""

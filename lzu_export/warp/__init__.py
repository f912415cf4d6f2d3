"""The mathematics of warps, and of anchors, in NumPy: arrays in, arrays out.

It uses no torch and no ONNX, and reads no files but saliency maps.
"""

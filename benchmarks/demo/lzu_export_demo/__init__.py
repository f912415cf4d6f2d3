"""Weights and saliency maps of the demonstration models; `lzu_export` finds them by this name."""

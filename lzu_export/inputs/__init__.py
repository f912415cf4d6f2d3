"""Readers of data sets' files: one for each kind, for accuracy, saliency and calibration alike.

Knows files and class names; recipes, models, scorers and frames' pixels stay outside.
"""

"""Readers of data sets' files, shared by accuracy, saliency and calibration.

Knows files and class names; recipes, models, scorers and frames' pixels stay outside.
"""

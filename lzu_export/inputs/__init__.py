"""Read the files of data sets, for accuracy, saliency and calibration alike.

This package handles files and class names; it imports no recipes, models or scorers.
"""

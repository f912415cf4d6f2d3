"""The demonstration data set, rendered on demand: frames, ground truth, calibration frames."""

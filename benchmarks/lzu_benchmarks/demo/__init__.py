"""The demonstration data set, rendered on demand: frames, truth, calibration."""

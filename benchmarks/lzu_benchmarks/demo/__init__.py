"""The demonstration data set, rendered when it is asked for: frames, truth, calibration."""

"""What differs between tasks: assembling the model, its warp, comparing its outputs."""

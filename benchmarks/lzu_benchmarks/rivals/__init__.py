"""What a user might take instead of a warp: larger inputs, a crop, tiles. Trained and compared."""

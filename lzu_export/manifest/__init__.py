"""What a bundle says of itself: the manifest's schema and its seal. Opens no engine."""

"""The manifest of a bundle: its schema and its own hash. Opens no engine."""

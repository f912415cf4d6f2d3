"""A bundle on disk: the folder in which it grows, opening it, and running it over frames."""

"""The compiler's driver: from a recipe to a verified bundle, and what is added to one later."""

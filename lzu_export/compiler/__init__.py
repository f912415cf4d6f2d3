"""The compiler: makes a verified bundle from a recipe, and adds to bundles later."""

"""The compiler: makes a verified bundle from a recipe, and adds files to bundles later."""

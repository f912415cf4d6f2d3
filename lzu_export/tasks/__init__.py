"""One module a task: assemble the model from a recipe, its outputs, its comparison."""

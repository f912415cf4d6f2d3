"""`lzu-export bench`: compares bundles with one another, and runs the paper's ablation."""

"""`lzu-export bench`: compare bundles with one another, and run the paper's ablation."""

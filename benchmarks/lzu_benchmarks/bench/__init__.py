"""`lzu-export bench`: measures bundles against one another, and the paper's ablation."""

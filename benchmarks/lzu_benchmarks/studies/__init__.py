"""Studies behind the documents' figures, one module per study. Nothing imports them."""

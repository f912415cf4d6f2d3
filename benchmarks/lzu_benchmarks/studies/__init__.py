"""Studies behind the documents' figures, one module a study. Nothing imports them."""

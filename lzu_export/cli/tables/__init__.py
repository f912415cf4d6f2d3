"""Tables that the commands print, in 80 columns, one module per kind."""

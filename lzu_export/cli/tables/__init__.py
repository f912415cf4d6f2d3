"""What the commands print: a file a kind of table, in 80 columns."""

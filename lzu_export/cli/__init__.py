"""The command line: thin argument groups over the rooms below. Nothing is computed here."""

"""The accuracy gate: evaluation sets found by name, their metrics, and evaluations over them."""

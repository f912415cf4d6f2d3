"""The accuracy gate: data sets found by name, their metrics, and evaluations over them."""

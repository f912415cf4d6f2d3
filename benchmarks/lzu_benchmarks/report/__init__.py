"""Makes the comparison's report of its results: JSON, Markdown and one page. Measures nothing."""

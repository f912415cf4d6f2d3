"""Make the report of a comparison: JSON, Markdown and one page. Measures nothing."""

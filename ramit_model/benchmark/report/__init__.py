"""Reports of a benchmark: tables, plots, pictures, a page."""

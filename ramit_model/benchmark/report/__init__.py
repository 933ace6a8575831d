"""What a benchmark reports: tables, plots, pictures, a page."""

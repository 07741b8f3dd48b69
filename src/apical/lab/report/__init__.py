"""The report of a comparison: summary, tables, figures and the HTML page."""

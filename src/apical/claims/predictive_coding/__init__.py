"""Claims about predictive coding."""

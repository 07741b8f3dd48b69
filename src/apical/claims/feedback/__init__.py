"""Claims about feedback weights and signs."""

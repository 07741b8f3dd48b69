"""Claims about what a trained network is."""

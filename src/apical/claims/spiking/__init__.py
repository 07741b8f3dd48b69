"""Claims about spiking networks."""

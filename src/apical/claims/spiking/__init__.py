"""Claims about networks of spiking neurons."""

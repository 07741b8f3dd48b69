"""Read-outs of loops, apart from their units."""

"""Data sets: by name, from files and from arrays."""

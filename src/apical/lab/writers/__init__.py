"""Callbacks that write each epoch of a comparison elsewhere."""

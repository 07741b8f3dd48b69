"""Files of a comparison: JSON lines, result store, checkpoint, output folder."""

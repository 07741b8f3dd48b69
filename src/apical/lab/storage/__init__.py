"""Files of a comparison: results, checkpoint, checksums."""

"""The axes of the examples in every value, and per-example losses."""

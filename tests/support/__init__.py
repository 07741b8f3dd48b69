"""Helpers shared by tests: problems, hand-written references, data, the zoo."""

"""Claims about how many examples or evaluations learning needs, and about noise."""

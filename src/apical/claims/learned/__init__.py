"""Claims about learned rules and about genomes that write the weights."""

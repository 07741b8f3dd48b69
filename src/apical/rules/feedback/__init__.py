"""Rules whose teaching signal travels through other weights."""

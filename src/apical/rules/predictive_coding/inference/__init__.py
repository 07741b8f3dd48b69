"""How the values of predictive coding settle."""

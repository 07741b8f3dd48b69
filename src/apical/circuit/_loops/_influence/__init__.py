"""The influence of parameters on the states of loops, kept where it can be early."""

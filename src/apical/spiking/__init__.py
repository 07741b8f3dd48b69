"""Spiking neurons as plain JAX functions: surrogates, neurons, encoders, read-outs."""

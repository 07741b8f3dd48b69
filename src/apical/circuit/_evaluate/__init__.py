"""Evaluation of a traced loss function: taps, feedback weights, control flow."""

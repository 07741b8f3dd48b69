"""Train a model with a rule: setup, optimisers, tuning."""

"""Training: loss, optimisers, setup, training loop, hyper-parameter search, regime."""

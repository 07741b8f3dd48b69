"""Rules for nodes that are sampled: `apical.bernoulli`."""

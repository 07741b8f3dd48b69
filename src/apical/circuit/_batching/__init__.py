"""Where the examples of a batch are, and the loss of each example."""

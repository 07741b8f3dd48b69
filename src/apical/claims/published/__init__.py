"""Claims with a published accuracy, each with the network of its source."""

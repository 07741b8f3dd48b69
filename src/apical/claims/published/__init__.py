"""Published accuracies as claims."""

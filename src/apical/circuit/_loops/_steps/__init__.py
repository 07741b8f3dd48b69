"""One step of a loop: what it computes, and its evaluation."""

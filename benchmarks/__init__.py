"""Speed of apical, as ratios to `jax.value_and_grad` in the same process."""

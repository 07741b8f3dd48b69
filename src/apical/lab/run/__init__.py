"""Run a comparison: plan, runner, records, progress."""

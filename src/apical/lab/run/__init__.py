"""Running a comparison: plan, runner, cost measurement, records, progress bar."""

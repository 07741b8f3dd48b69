"""Every rule on several devices."""

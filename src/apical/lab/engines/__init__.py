"""Engines: a comparison whose rules are trained by processes on other machines."""

"""Derivatives forwards in time by eligibility traces."""

"""Derivatives forwards in time by traces with two factors."""

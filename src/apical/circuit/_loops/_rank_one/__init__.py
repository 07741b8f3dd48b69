"""Derivatives forwards in time by random estimates of rank one."""

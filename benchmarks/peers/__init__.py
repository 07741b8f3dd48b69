"""The libraries that apical is timed against: a worker process for each.

A worker is a script that runs in an environment of its own, where nothing but its
library and what that asks for is installed. `_worker.py` is what they share.
"""

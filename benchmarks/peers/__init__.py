"""The libraries that apical is timed against: a worker process for each.

A worker is a script that runs in its own environment, where only its library and the
dependencies are installed. `_worker.py` is shared by all.
"""

"""Claims about learning online, forwards in time."""

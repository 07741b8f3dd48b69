"""`python -m apical` is `apical`."""

from .cli import main

main()

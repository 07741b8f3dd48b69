"""Representational similarity analysis with rsatoolbox.

Needs the extra `rsa`: `pip install 'apical[rsa]'`. Linear CKA needs no extra:
`apical.measure.cka`.
"""

from ._datasets import datasets as datasets

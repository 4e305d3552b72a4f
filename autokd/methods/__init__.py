"""One file per paper: formula, citation, what we changed, defaults, and the preset with the ranges
its authors searched.

Files are found by a folder scan (``axes.load``). They import torch only inside functions, so that
listing them is instant.
"""

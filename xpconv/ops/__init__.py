"""Stateless maths on arrays: forward and backward side by side, a family a file.

Every function takes the array module first; the caller has found it once with `get_xp(x, ...)`.
Nothing here checks its input or keeps state: that is the layers' part.
"""

"""The mathematics: forward and backward side by side, each with its derivation, a family a file.

Every function takes the array module first; the caller has found it once with `get_xp(x, ...)`. Nothing here
checks its input or keeps state: that is the layers' part. The code is plain array code, which runs on any
array module. For a function marked `@overridable` a device may have a faster one (see `xpconv.kernels`).
"""

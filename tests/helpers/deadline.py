"""Loops in tests that wait for something, which fail where it never comes."""

import time

import pytest
from process import LIMIT


def until(done, what):
    """Yield until `done()` is true; at the limit of all tests this one fails, in place of hanging."""
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {LIMIT} s")
        yield

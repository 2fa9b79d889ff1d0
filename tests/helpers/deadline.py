"""Loops in tests that wait for something, which fail where it never comes."""

import time

import pytest


def until(done, what, seconds=120):
    """Yield until `done()` is true; after so many seconds the test fails, in place of hanging."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s")
        yield

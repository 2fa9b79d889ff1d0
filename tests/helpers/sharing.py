"""Work of any size, cut for several threads."""

from contextlib import contextmanager

from xpconv.kernels.engine import memory, threads


@contextmanager
def shared_by(count):
    """Within this block, kernels cut all work for `count` threads, however little there is.

    Their plans are dropped at its end: what they add up is rounded otherwise than in one piece, and a test that
    runs later in this process would sometimes get one of them, and sometimes not.
    """
    before = threads.pool.count, threads.WORTH
    threads.pool.count, threads.WORTH = count, 1
    memory.free_memory()
    try:
        yield count
    finally:
        threads.pool.count, threads.WORTH = before
        memory.free_memory()

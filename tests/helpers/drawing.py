"""What hypothesis draws for several files."""

from hypothesis import assume
from hypothesis import strategies as st

from xpconv.geometry import Window


def windows(draw, least=1):
    """A window in one to three axes, and the size of the images that it slides over."""
    axes = draw(st.integers(1, 3))
    each = lambda strategy: tuple(draw(strategy) for _ in range(axes))
    window = Window(
        each(st.integers(least, 3)), each(st.integers(1, 3)),
        each(st.tuples(st.integers(0, 2), st.integers(0, 2))), each(st.integers(1, 2)),
    )  # fmt: skip
    spatial = each(st.integers(1, 7))
    assume(min(window.output_shape(spatial)) > 0)
    return window, spatial

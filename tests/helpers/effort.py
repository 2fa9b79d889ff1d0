"""How much the tests do that draw examples or combine options: all of it where those marked slow run too."""

thorough = False  # `conftest.py` sets it


def examples(count):
    """For `settings(max_examples=examples(100))`."""
    return count if thorough else max(count // 4, 10)

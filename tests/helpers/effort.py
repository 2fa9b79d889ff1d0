"""How much the tests do that draw examples or combine options: all of it where those marked slow run too."""

thorough = False  # `conftest.py` sets it


def examples(count):
    """For `settings(max_examples=examples(100))`: half of them, or a quarter without the tests marked slow."""
    return max(count // (2 if thorough else 4), 10)

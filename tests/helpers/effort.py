"""How much the tests do that draw examples or combine options: all of it where those marked slow run too."""

import pytest

thorough = False  # `conftest.py` sets it


def examples(count):
    """For `settings(max_examples=examples(100))`."""
    return count if thorough else max(count // 4, 10)


def sample(cases, every=4):
    """The cases as parameters of a test: the first and each `every`-th after it; the others are marked slow."""
    given = [case if hasattr(case, "marks") else pytest.param(case) for case in cases]
    return [
        case
        if n % every == 0
        else pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.slow])
        for n, case in enumerate(given)
    ]

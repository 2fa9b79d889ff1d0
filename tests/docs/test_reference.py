"""The pages of the API reference, as the site makes them from the package: every public name, with its methods."""

import inspect
import re
from pathlib import Path

import pytest

import xpconv

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

HOOKS = Path(__file__).parents[2] / "docs" / "hooks"


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(HOOKS)
        import public_names

        yield public_names


@pytest.fixture(scope="module")
def reference(pages):
    return "\n".join(pages.api_pages().values())


def test_every_public_name_is_there_once(pages, reference):
    entries = re.findall(r"^(?:::: |## )(xpconv[\w.]+)", reference, re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == set(pages.public())
    for name in xpconv.__all__:
        assert inspect.ismodule(getattr(xpconv, name)) or f"xpconv.{name}" in entries


def test_every_page_has_entries_and_each_file_a_page(pages):
    used = {pages.page_of(thing.__module__) for thing in pages.public().values()}
    assert used == set(pages.PAGES)
    for _, prefixes in pages.PAGES.values():
        for prefix in prefixes.split():
            path = Path(xpconv.__file__).parent.joinpath(*prefix.split("."))
            assert path.is_dir() or path.with_suffix(".py").exists(), prefix


def test_methods(pages):
    """Those of the class and of its private bases; of documented bases there are links."""
    documented = {thing for thing in pages.public().values() if inspect.isclass(thing)}
    for name, expected in {
        "Optimizer": "step zero_grad add_param_group state_dict load_state_dict",
        "LRScheduler": "step get_last_lr state_dict load_state_dict",
        "Loss": "forward backward",
        "GradScaler": "step update unscale_ state_dict load_state_dict",
        "ExponentialMovingAverage": "update average_parameters state_dict load_state_dict",
        "Parameter": "accumulate requires_grad_ view",
        "Sequential": "append extend insert pop",
        "ModuleList": "append",
        "Layer": "recall keep state_dict load_state_dict parameters summary fuse to",
    }.items():
        own, _ = pages.methods(getattr(xpconv, name), documented)
        assert set(expected.split()) <= set(own), name
    own, inherited = pages.methods(xpconv.Adam, documented)
    assert own == []
    assert inherited["step"] is xpconv.Optimizer
    assert "mean" not in pages.methods(xpconv.Parameter, documented)[0]  # NumPy's
    assert "[`step`][xpconv.Optimizer.step]" in pages.inherited_methods(xpconv.Adam)
    assert "[`forward`][xpconv.Layer.forward]" in pages.inherited_methods(xpconv.Dense)


def test_other_names_lead_to_the_thing(reference):
    assert "Another name for [`Dense`](#xpconv.Dense)." in reference
    assert "Another name for [`SoftmaxCrossEntropyLoss`](#xpconv.SoftmaxCrossEntropyLoss)" in reference


def test_docstrings_in_the_form_of_griffe(monkeypatch):
    pytest.importorskip("griffe", reason='pip install -e ".[docs]"')
    monkeypatch.syspath_prepend(HOOKS)
    import docstrings

    doc = inspect.cleandoc("""Do it: now.

    Args:
        x, *more: arrays.

    Returns:
        Pairs: `(x, y)`.

    Returns, Raises:
        as others: the same.

    Example:
        >>> 1
        1

    Source:
        A book: the best.
    """)
    assert docstrings.in_its_form(doc).splitlines() == [
        "Do it: now.", "",
        "Args:", "    x, *more: arrays.", "",
        "**Returns:**", "", "Pairs: `(x, y)`.", "",
        "**Returns, Raises:**", "", "as others: the same.", "",
        "Examples:", "    >>> 1", "    1", "",
        "**Source:**", "", "A book: the best.",
    ]  # fmt: skip

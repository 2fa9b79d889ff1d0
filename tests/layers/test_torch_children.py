# ruff: noqa: S102
"""Containers edited as PyTorch's are: the same names in the same order afterwards."""

import numpy as np
import pytest
from oracle import nn

import xpconv
from xpconv import ModuleDict, ModuleList, Sequential, Tanh

X = np.ones((3, 4), "float32")


def numbered(m, n=5):
    return m.Sequential(*(m.Linear(4, 4, bias=i % 2 == 0) for i in range(n)))


EDITS = [
    "s[0] = new", "s[-1] = new", "s[True] = new", "del s[0]", "del s[-1]", "del s[1:3]", "del s[::2]", "del s[:]",
    "del s[::-2]", "del s[4:1:-1]", "s.pop(0)", "s.pop(-2)", "s.pop(slice(1, 3))", "s.append(new)", "s.insert(0, new)",
    "s.insert(2, new)", "s.insert(5, new)", "s.insert(-1, new)", "s.insert(-5, new)", "s.extend([new, new])",
    "s.extend(s2)", "s.extend(x for x in [new])", "s.extend([])",
    "setattr(s, '0', new)", "s.extra = new", "delattr(s, '1')", "s = s[1:]", "s = s[::2]; s.append(new)", "s = s[-2:]",
    "del s[0]; s.insert(1, new); s.pop(2)", "s = s[1:]; del s[0]", "s = s[:0]; s.append(new)", "delattr(s, '1'); s.append(new)",
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_lists_are_edited_as_pytorchs(edit, kind):
    """The same keys in the same order afterwards, the same layers behind them."""
    keys, shapes = [], []
    if kind == "ModuleList" and "insert(-" in edit:
        pytest.skip("PyTorch's ModuleList gets a layer called '-1'")
    if "delattr(s, '1'); s.append" in edit:
        pytest.skip("PyTorch replaces the last layer; here the new one gets a number of its own")
    for m in (xpconv, nn):
        s, s2 = numbered(m), numbered(m, 2)
        if kind == "ModuleList":
            s, s2 = m.ModuleList(s), m.ModuleList(s2)
        scope = {"s": s, "s2": s2, "new": m.Linear(4, 7)}
        exec(edit, scope)
        keys.append(list(scope["s"].state_dict()))
        shapes.append([tuple(layer.weight.shape) for layer in scope["s"]])
    assert keys[0] == keys[1]
    assert shapes[0] == shapes[1]


def test_modules_named_children_and_apply():
    names, order = [], []
    for m in (xpconv, nn):
        shared = m.Tanh()
        model = m.Sequential(m.Linear(2, 2), shared, m.Sequential(shared, m.ReLU()))
        names.append(
            [
                [n for n, _ in model.named_children()],
                [n for n, _ in model.named_modules()],
                len(list(model.modules())),
                [n for n, _ in m.ModuleDict({"a": shared, "b": shared}).named_children()],
            ]
        )
        seen = []
        assert model.apply(lambda layer, seen=seen: seen.append(type(layer).__name__)) is model
        order.append([n.replace("Linear", "Dense") for n in seen])
    assert names[0] == names[1]
    assert order[0] == order[1]
    with pytest.raises(TypeError, match=r"to run the model: model\(x\)"):
        Sequential(Tanh()).apply(X)


def test_module_list_and_dict_are_as_pytorchs():
    found = []
    for m in (xpconv, nn):
        a, b, c = m.Linear(1, 2), m.ReLU(), m.Tanh()
        items = m.ModuleList([a, b])
        items += [c]
        more = items + m.ModuleList([a])
        heads = m.ModuleDict([["x", a], ["y", b]])
        heads.update({"z": c, "x": b})
        popped = heads.pop("y")
        found.append(
            [
                len(items), items[-1] is c, list(more.state_dict()), len(more[1:]), type(more[1:]).__name__, b in items,
                list(more[:0:-1].state_dict()), list(heads), list(heads.keys()), heads["x"] is b, popped is b,
                "z" in heads, "y" in heads, len(heads), [k for k, v in heads.items()], len(list(heads.values())),
                list(m.ModuleList().state_dict()), len(m.ModuleDict()), list(m.ModuleDict(heads)), heads.z is c,
                type(items.append(b)).__name__, type(items.extend([b])).__name__,
            ]
        )  # fmt: skip
        heads.clear()
        assert not len(heads)
    assert found[0] == found[1]
    for bad in (3, [3], [("a", 3)], {"a": 3}, {"a": None}):
        with pytest.raises(TypeError):
            ModuleDict(bad)
    for kind in (ModuleList, ModuleDict):
        with pytest.raises(TypeError, match=f"{kind.__name__} has no forward; call its layers in"):
            kind()(X)
    with pytest.raises(KeyError, match="there is no layer 'q'; there are: a"):
        ModuleDict({"a": Tanh()})["q"]
    with pytest.raises(TypeError, match="expected a layer's name"):
        ModuleDict({"a": Tanh()})[0]

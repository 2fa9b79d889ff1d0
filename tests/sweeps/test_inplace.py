"""Arrays changed in place between forward and backward: the gradients are those of the untouched run.

PyTorch raises where such a change spoils what it saved; here what is saved is out of the caller's reach.
"""

import every
import numpy as np
import pytest

import xpconv

LAYERS = every.all_layers()


def spoil(array):
    """Change every element of an array (none of which is out of range, for indices)."""
    if array.dtype.kind in "iu":
        array[...] = array[::-1].copy()
    else:
        array *= -1
        array += 7


def arrays(value):
    return value if isinstance(value, tuple) else (value,)


def run(make, inputs, change):
    """Output, input gradients and parameters' gradients; `change(x, y)` comes between forward and backward."""
    layer = make()
    given = [xpconv.asarray(x.copy()) for x in inputs]
    y = layer(*given)
    outputs = [xpconv.asnumpy(a).copy() for a in arrays(y)]
    rng = np.random.default_rng(0)
    g = xpconv.asarray(rng.normal(size=outputs[0].shape).astype(outputs[0].dtype))
    before = g.copy()
    change(given, arrays(y))
    dx = arrays(layer.backward(g))
    assert np.array_equal(xpconv.asnumpy(g), xpconv.asnumpy(before))  # grad_output is left alone
    grads = [p.grad for p in getattr(layer, "parameters", list)()]
    xp = xpconv.get_xp(g)
    for grad in filter(lambda a: a is not None, grads):
        assert not any(
            xp.may_share_memory(grad, other) for other in (g, *given, *dx, *arrays(y)) if other is not None
        )
    return [*outputs, *(None if a is None else xpconv.asnumpy(a).copy() for a in (*dx, *grads))]


def agree(got, expected, tolerance=0.0):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        if a is not None or b is not None:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


CHANGES = {
    "y": lambda x, y: [spoil(a) for a in y],
    "x": lambda x, y: [spoil(a) for a in x],
    "both": lambda x, y: [spoil(a) for a in (*x, *y)],
}


def check(make, inputs):
    xpconv.manual_seed(0)
    expected = run(make, inputs, lambda x, y: None)
    for change in CHANGES.values():
        xpconv.manual_seed(0)
        agree(run(make, inputs, change), expected)


def test_the_sweeps_have_every_public_layer_and_loss():
    known = {row[0] for row in every.LAYERS.values()} | every.made_of_layers()
    missing = every.names(xpconv.Layer) - known
    assert not missing, f"LAYERS in tests/helpers/every.py has no row for {missing}"
    missing = every.names(xpconv.losses.Loss) - set(every.LOSSES)
    assert not missing, f"LOSSES in tests/helpers/every.py has no row for {missing}"


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", LAYERS)
def test_layer(key, backend):
    make, inputs = LAYERS[key]
    check(make, inputs)


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", LAYERS)
def test_layer_in_inference_mode(key):
    make, inputs = LAYERS[key]
    check(lambda: make().eval(), inputs)


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", LAYERS)
def test_forward_by_name(key, backend):
    """`layer.forward(x)` as well, past the door."""
    make, inputs = LAYERS[key]

    def plain():
        return Direct(make())

    check(plain, inputs)


class Direct:
    """Calls `layer.forward(…)` where one calls the layer."""

    def __init__(self, layer):
        self.layer, self.backward, self.parameters = layer, layer.backward, layer.parameters

    def __call__(self, *inputs):
        return self.layer.forward(*inputs)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", every.LOSSES)
def test_loss(name, reduction, backend):
    options, inputs = every.LOSSES[name]
    if name == "DiceLoss":
        reduction = "mean"
    check(lambda: getattr(xpconv, name)(reduction=reduction, **options), inputs)


def test_indices_of_max_pool_are_the_callers(backend):
    pool, unpool = xpconv.MaxPool2d(2, return_indices=True), xpconv.MaxUnpool2d(2)
    x = xpconv.asarray(every.IMAGE)

    def gradients(change):
        y, indices = pool(x)
        z = unpool(y, indices)
        if change:
            spoil(indices)
        dy = unpool.backward(z)
        return xpconv.asnumpy(pool.backward(dy)).copy()

    np.testing.assert_array_equal(gradients(True), gradients(False))


class Gate(xpconv.Layer):
    """A layer as users write it: one that changes its own intermediate results in place."""

    def __init__(self, in_place):
        self.conv = xpconv.Conv2d(4, 4, 3, padding=1, rng=0)
        self.norm = xpconv.InstanceNorm2d(4)
        self.relu = xpconv.Hardtanh()
        self.in_place = in_place

    def forward(self, x):
        a = self.conv(x)
        h = self.norm(a)
        if self.in_place:
            a *= 0
            h += x
            y = self.relu(h)
            h[...] = 1
            y *= 2
        else:
            h = h + x
            y = self.relu(h) * 2
        return self.keep(y, {"x": [x]})

    def backward(self, grad_output, input_grad=True):
        (saved,) = self.recall(grad_output)
        grad = self.relu.backward(2 * grad_output)
        return self.conv.backward(self.norm.backward(grad)) + grad + 0 * saved["x"][0]


class Doubled(xpconv.Sigmoid):
    """A library's layer with a forward around the inherited one."""

    def forward(self, x):
        y = super().forward(x)
        y *= 2
        return y

    def backward(self, grad_output, input_grad=True):
        return super().backward(2 * grad_output, input_grad)


class Caller(xpconv.Layer):
    """Calls parts past their doors."""

    def __init__(self):
        self.body = xpconv.Sequential(xpconv.InstanceNorm2d(4), xpconv.Tanh())
        self.last = xpconv.Sigmoid()

    def forward(self, x):
        h = self.body.forward(x)
        y = self.last.forward(h)
        h *= 0
        y *= 2
        return self.keep(y)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.body.backward(self.last.backward(2 * grad_output))


@pytest.mark.parametrize("nested", [False, True])
def test_an_inherited_forward_and_one_past_the_door(nested, backend):
    def plain():
        return xpconv.Sequential(xpconv.InstanceNorm2d(4), xpconv.Tanh(), Doubled())

    def daring():
        return xpconv.Sequential(Caller()) if nested else Caller()

    class Safe(xpconv.Sigmoid):
        def forward(self, x):
            return self.keep(2 * xpconv.Sigmoid().forward(x), x)

        def backward(self, grad_output, input_grad=True):
            (x,) = self.recall(grad_output)
            s = 1 / (1 + xpconv.get_xp(x).exp(-x))
            return 2 * s * (1 - s) * grad_output

    expected = run(
        lambda: xpconv.Sequential(xpconv.InstanceNorm2d(4), xpconv.Tanh(), Safe()),
        [every.IMAGE],
        lambda x, y: None,
    )
    for change in CHANGES.values():
        agree(run(plain, [every.IMAGE], change), expected, 1e-5)
        agree(run(daring, [every.IMAGE], change), expected, 1e-5)


class Probe(xpconv.Layer):
    """Lets its input through, has it looked at, and leaves it to be changed."""

    def forward(self, x):
        self.seen = x
        return self.keep(x)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return grad_output


@pytest.mark.parametrize(
    "wrap", [lambda *parts: xpconv.Sequential(*parts), lambda *parts: xpconv.Residual(*parts)]
)
def test_a_layer_of_ones_own(wrap, backend):
    def plain():
        return wrap(xpconv.Tanh(), Gate(False), xpconv.Conv2d(4, 4, 1, rng=1), xpconv.Sigmoid())

    def daring():
        return wrap(xpconv.Tanh(), Gate(True), xpconv.Conv2d(4, 4, 1, rng=1), xpconv.Sigmoid())

    expected = run(plain, [every.IMAGE], lambda x, y: None)
    for change in CHANGES.values():
        agree(run(daring, [every.IMAGE], change), expected, 1e-5)  # the order of memory is another


class Within(xpconv.Layer):
    """Changes the input and the output of the layer that it calls, before its own forward ends."""

    def __init__(self, child):
        self.child = child

    def forward(self, *inputs):
        inputs = [x.copy() for x in inputs]
        y, *rest = arrays(self.child(*inputs))
        first = y.copy()
        for a in (*inputs, y, *rest):
            spoil(a)
        return self.keep(first)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output, input_grad)
        return self.child.backward(grad_output, input_grad=input_grad)


@pytest.mark.sample(4)
@pytest.mark.parametrize("key", LAYERS)
def test_within_a_layer_of_ones_own(key, backend):
    make, inputs = LAYERS[key]
    single = len(inputs) == 1 and "return_indices" not in key
    for wrap in (lambda layer: layer, xpconv.Sequential)[: 1 + single]:
        outcomes = []
        for outer in (lambda layer: layer, Within):
            xpconv.manual_seed(0)
            outcomes.append(
                run(lambda outer=outer, wrap=wrap: outer(wrap(make())), inputs, lambda x, y: None)
            )
        expected, got = outcomes
        agree(got, [expected[0], *expected[len(expected) - len(got) + 1 :]])


class Tripling(xpconv.Layer):
    """Changes its input, which a layer before it has kept as its output."""

    def forward(self, x):
        x *= 3
        return self.keep(x)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return 3 * grad_output


@pytest.mark.parametrize("before", [xpconv.Sigmoid, xpconv.Tanh, lambda: xpconv.Softmax(1)])
@pytest.mark.parametrize("wrap", [xpconv.Sequential, xpconv.Residual, xpconv.Concat])
def test_a_layer_of_ones_own_that_changes_its_input(before, wrap, backend):
    x, g = xpconv.asarray(every.VECTOR), xpconv.asarray(every.VECTOR[::-1].copy())
    alone, model = before(), wrap(xpconv.Sequential(before(), Tripling()))
    y = 3 * alone(x)
    dx = alone.backward(3 * g)
    if wrap is xpconv.Residual:
        y, dx = y + x, dx + g
    kept = x.copy()
    np.testing.assert_allclose(xpconv.asnumpy(model(kept)), xpconv.asnumpy(y), rtol=1e-6)
    np.testing.assert_allclose(xpconv.asnumpy(model.backward(g)), xpconv.asnumpy(dx), rtol=1e-6)


def test_what_a_layer_of_ones_own_has_seen(backend):
    """A library's layers around it have kept, or keep later, what a user's layer between got and gave."""

    def model(module=xpconv):
        probes = [Probe(), Probe(), Probe()]
        tail = module.Sequential(module.Sigmoid(), probes[1], module.Tanh())
        layers = [module.ReLU(), probes[0], module.Conv2d(4, 4, 1, rng=0), module.Concat(tail, probes[2])]
        return module.Sequential(*layers), probes

    made = []

    def make():
        net, probes = model()
        made[:] = probes
        return net

    expected = run(make, [every.IMAGE], lambda x, y: None)
    agree(run(make, [every.IMAGE], lambda x, y: [spoil(probe.seen) for probe in made]), expected)


def test_a_planted_forward(backend):
    """As one that records activations, and then works on what it recorded."""
    seen = []

    def make():
        net = xpconv.Sequential(xpconv.Tanh(), xpconv.Sigmoid(), xpconv.Conv2d(4, 2, 1, rng=0))
        inner = net[1].forward

        def planted(x):
            seen[:] = [x, inner(x)]
            return seen[1]

        vars(net[1])["forward"] = planted
        return net

    expected = run(make, [every.IMAGE], lambda x, y: None)
    agree(run(make, [every.IMAGE], lambda x, y: [spoil(a) for a in seen]), expected)


def test_views_of_one_memory(backend):
    """Inputs and outputs that are views of an array that the caller has, of other layouts too."""
    images = np.ascontiguousarray(np.moveaxis(np.concatenate([every.IMAGE] * 2), 1, -1))

    def gradients(spoiled):
        whole = xpconv.asarray(images.copy())
        x = xpconv.get_xp(whole).moveaxis(whole, -1, 1)[1:3]
        net = xpconv.Sequential(xpconv.Conv2d(4, 4, 3, rng=0), xpconv.Sigmoid(), xpconv.Flatten())
        y = net(x)
        if spoiled:
            spoil(whole)
            spoil(y[:, 1:])
        xp = xpconv.get_xp(y)
        dx = net.backward(xp.ones(y.shape, dtype=y.dtype))
        return [xpconv.asnumpy(a).copy() for a in (dx, net[0].weight.grad)]

    agree(gradients(True), gradients(False))


def test_two_inputs_of_one_memory(backend):
    layer, x = xpconv.Bilinear(4, 4, 2, rng=0), xpconv.asarray(every.VECTOR.copy())

    def gradients(spoiled):
        y = layer(x, x)
        if spoiled:
            spoil(x)
        return [xpconv.asnumpy(a).copy() for a in layer.backward(xpconv.get_xp(y).ones_like(y))]

    expected = gradients(False)
    agree(gradients(True), expected)


class Copies:
    """What `ops.shape.copy` copies."""

    def __init__(self, monkeypatch):
        self.shapes = []
        from xpconv import tape, taped

        real = tape.copy

        def counted(x):
            self.shapes.append(tuple(x.shape))
            return real(x)

        for module in (tape, taped):
            monkeypatch.setattr(module, "copy", counted)


def test_what_is_copied(monkeypatch, backend):
    """Of a model the input, once, and no more; nothing at all under no_grad."""
    copies = Copies(monkeypatch)
    conv = [xpconv.Conv2d(4, 4, 3, padding=1, rng=0), xpconv.BatchNorm2d(4), xpconv.ReLU()]
    paths = xpconv.Concat(xpconv.Residual(*conv), xpconv.Conv2d(4, 4, 1, rng=0), xpconv.Identity())
    net = xpconv.Sequential(paths, xpconv.MaxPool2d(2), xpconv.Flatten(), xpconv.Dense(108, 2, rng=0))
    criterion = xpconv.CrossEntropyLoss()
    x, t = xpconv.asarray(every.IMAGE), xpconv.asarray(np.array([0, 1]))
    for _ in range(2):
        loss = criterion(net(x), t)
        net.backward(criterion.backward(), input_grad=False)
    assert copies.shapes == [x.shape] * 2  # the loss keeps fresh arrays only
    copies.shapes.clear()
    with xpconv.no_grad():
        loss = criterion(net(x), t)
        xpconv.ReLU()(x)
        xpconv.ReLU().forward(x)
    assert loss.shape == ()
    assert not copies.shapes
    for layer in (xpconv.MaxPool2d(2), xpconv.AvgPool2d(2), xpconv.Flatten(), xpconv.Dropout(rng=0)):
        layer(x)  # keep neither their input nor their output
    assert not copies.shapes


def test_a_copy_keeps_the_order_of_memory(backend):
    x = xpconv.get_xp().moveaxis(xpconv.asarray(np.moveaxis(every.IMAGE, 1, -1).copy()), -1, 1)
    layer = xpconv.Conv2d(4, 4, 3, rng=0)
    layer(x)
    _, images, *_ = layer._finished()[-1].entries[-1][1]
    assert images is not x
    assert images.strides == x.strides


def test_a_forward_that_fails_leaves_the_door_closed(backend):
    net = xpconv.Sequential(xpconv.Sigmoid(), xpconv.Conv2d(3, 4, 1, rng=0))
    x = xpconv.asarray(every.IMAGE)
    with pytest.raises(ValueError, match="in_channels=3"):
        net(x)
    check(lambda: xpconv.Sigmoid(), [every.IMAGE])

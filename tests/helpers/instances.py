"""One instance of every public layer, with small sizes."""

import inspect

import xpconv

LAYERS = sorted(
    name
    for name in xpconv.layers.__all__
    if isinstance(getattr(xpconv, name), type) and issubclass(getattr(xpconv, name), xpconv.Layer)
    if name != "Layer"
)
SIZES = {
    "in_channels": 4, "out_channels": 4, "kernel_size": 3, "num_features": 4, "in_features": 4, "out_features": 4,
    "in1_features": 4, "in2_features": 4, "num_channels": 4, "num_groups": 2, "normalized_shape": 4, "channels": 4,
    "num_embeddings": 5, "embedding_dim": 4, "padding": 1, "value": 0.5, "groups": 2, "upscale_factor": 2,
    "downscale_factor": 2, "output_size": (4, 4), "dim": 1, "unflattened_size": (2, 2), "size": 5, "norm_type": 2,
    "input_channels": 4, "squeeze_channels": 2, "threshold": 0.1,
}  # fmt: skip


def instance_of(name):
    kind = getattr(xpconv, name)
    required = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    sizes = {
        "LazyLinear": {},
        "Graph": {"nodes": {"relu": (xpconv.ReLU(), "x")}, "inputs": "x", "outputs": "relu"},
        "AdaptiveAvgPool1d": {"output_size": 2},
        "AdaptiveMaxPool1d": {"output_size": 2},
    }
    sizes |= {f"{kind}3d": {"output_size": 2} for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool")}
    if name.startswith("Upsampl"):
        return kind(scale_factor=2)
    values = SIZES | sizes.get(name, {})
    unknown = [n for n in required if n not in values]
    if unknown:
        raise LookupError(
            f"{name}: SIZES in tests/helpers/instances.py has no value for {', '.join(unknown)}"
        )
    return kind(**{n: values[n] for n in required})

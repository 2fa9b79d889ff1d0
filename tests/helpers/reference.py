"""Naive forwards, one Python loop a sum, in float64: independent of the library, to be believed on sight."""

import itertools

import numpy as np


def pad_naive(x, padding, mode="zeros"):
    """Pad the last axes of `x` by `(lo, hi)` each, looking up the source of every pixel."""

    def source(h, n):
        if 0 <= h < n:
            return h
        return {
            "zeros": None,
            "reflect": -h if h < 0 else 2 * (n - 1) - h,
            "replicate": 0 if h < 0 else n - 1,
            "circular": h % n,
        }[mode]

    spatial = x.shape[2:]
    out = np.zeros((*x.shape[:2], *(n + lo + hi for n, (lo, hi) in zip(spatial, padding, strict=True))))
    for position in itertools.product(*(range(n) for n in out.shape[2:])):
        h = [source(p - lo, n) for p, (lo, _), n in zip(position, padding, spatial, strict=True)]
        if None not in h:
            out[(..., *position)] = x[(..., *h)]
    return out


def conv_naive(
    x, weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, mode="zeros"
):
    """The definition of a convolution, element by element."""
    x = pad_naive(x, padding, mode)
    n, c = x.shape[:2]
    k, per_group = weight.shape[0], c // groups
    sizes = [
        (h - d * (r - 1) - 1) // s + 1
        for h, r, s, d in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True)
    ]
    y = np.zeros((n, k, *sizes))
    for i, j, p, q in itertools.product(range(n), range(k), *map(range, sizes)):
        group = j // (k // groups)
        total = 0.0 if bias is None else bias[j]
        for ch, r, s in itertools.product(range(per_group), *map(range, weight.shape[2:])):
            pixel = x[
                i, group * per_group + ch, p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1]
            ]
            total += pixel * weight[j, ch, r, s]
        y[i, j, p, q] = total
    return y


def pool_naive(x, reduce, kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    """`reduce(values, size)` over each window: the values inside the image, the taps inside the padding."""
    sizes = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        starts = list(range(-p, n + p, s))
        if ceil_mode:
            starts = [
                h
                for i, h in enumerate(starts)
                if h < n and (i == 0 or starts[i - 1] + d * (k - 1) < n + p - 1)
            ]
        else:
            starts = [h for h in starts if h + d * (k - 1) < n + p]
        sizes.append(starts)
    y = np.zeros((*x.shape[:2], *map(len, sizes)))
    for i, j, (p, top), (q, left) in itertools.product(
        range(x.shape[0]), range(x.shape[1]), *(list(enumerate(starts)) for starts in sizes)
    ):
        rows = [top + r * dilation[0] for r in range(kernel[0])]
        cols = [left + s * dilation[1] for s in range(kernel[1])]
        values = [x[i, j, a, b] for a in rows for b in cols if 0 <= a < x.shape[2] and 0 <= b < x.shape[3]]
        size = sum(a < x.shape[2] + padding[0] for a in rows) * sum(b < x.shape[3] + padding[1] for b in cols)
        y[i, j, p, q] = reduce(values, size)
    return y


def batch_norm_naive(x, weight=1.0, bias=0.0, running_mean=None, running_var=None, eps=1e-5):
    """Channel by channel; with the batch's statistics where none are given."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c]
        mean = values.mean() if running_mean is None else running_mean[c]
        var = ((values - values.mean()) ** 2).mean() if running_var is None else running_var[c]
        scale = weight[c] if np.ndim(weight) else weight
        shift = bias[c] if np.ndim(bias) else bias
        y[:, c] = (values - mean) / np.sqrt(var + eps) * scale + shift
    return y


def uniforms(xp, seed, shape):
    """The float32 numbers in [0, 1) that dropout draws first with this seed: NumPy's, or on a device Philox's."""
    generator = np.random.default_rng(seed)
    if not hasattr(xp, "RawModule"):
        return generator.random(shape, dtype="float32")
    key, _ = generator.integers(1 << 63, size=2, dtype="uint64").tolist()
    count = int(np.prod(shape))
    bits = [word for i in range(-(-count // 4)) for word in philox(key, i)]
    return (np.array(bits[:count], "uint32") >> 8).astype("float32").reshape(shape) / np.float32(1 << 24)


def philox(key, counter):
    """Philox 4×32-10 of Salmon et al. (2011), in Python's integers: the four words for one counter."""
    mask = 0xFFFFFFFF
    k0, k1 = key & mask, key >> 32
    words = [counter & mask, counter >> 32, 0, 0]
    for _ in range(10):
        a, b = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [(b >> 32) ^ words[1] ^ k0, b & mask, (a >> 32) ^ words[3] ^ k1, a & mask]
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return words

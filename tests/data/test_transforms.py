"""What all transforms share: forms of batches, dtypes, masks, draws for each image, the same on every backend."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import xpconv
from xpconv.data import transforms
from xpconv.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    Grayscale,
    MixUp,
    Normalize,
    Pad,
    RandomAffine,
    RandomApply,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToDtype,
    base,
)
from xpconv.errors import BackendError, DTypeError, ShapeError

FLOATING = [Normalize(0.5, 0.25), RandomErasing(p=0.7, value="random")]  # these refuse uint8
ALL = [
    RandomHorizontalFlip(),
    RandomVerticalFlip(0.3),
    RandomCrop(5, padding=2),
    RandomCrop((9, 3), pad_if_needed=True, padding_mode="reflect"),
    CenterCrop((4, 9)),
    Pad((1, 2, 3, 0), fill=1),
    Resize(4),
    Resize((9, 5), "bicubic", antialias=False),
    RandomResizedCrop(6),
    RandomResizedCrop((3, 8), interpolation="nearest"),
    RandomRotation(40),
    RandomAffine(20, (0.2, 0.1), (0.8, 1.3), (-5, 5, -8, 8), "bilinear", fill=1),
    ColorJitter(0.5, 0.5, 0.5, 0.2),
    ColorJitter(hue=0.5),
    Grayscale(3),
    RandomErasing(p=0.7),
    Cutout(3, value=1),
    ToDtype("float32", scale=True),
    ToDtype("uint8", scale=True),
    RandomApply([RandomHorizontalFlip(), ColorJitter(0.4)]),
    Compose([RandomCrop(6, 1), RandomHorizontalFlip()]),
    *FLOATING,
]
MIXING = [MixUp(num_classes=4), CutMix(num_classes=4)]
RANDOM = [t for t in ALL if "Random" in repr(t) or isinstance(t, (ColorJitter, Cutout))]
MASKED = [
    RandomHorizontalFlip(masks=1),
    RandomVerticalFlip(masks=(1,)),
    RandomCrop(5, padding=2, masks=1, mask_fill=9),
    CenterCrop((4, 9), masks=1),
    Pad((1, 2), masks=1, mask_fill=9),
    Resize(4, masks=1),
    RandomResizedCrop(6, masks=1),
    RandomRotation(40, "bilinear", masks=1, mask_fill=9),
    RandomAffine(20, (0.2, 0.1), (0.8, 1.3), interpolation="bilinear", masks=1, mask_fill=9),
]
SIZE = (7, 6)


def images(n=5, c=3, size=SIZE, dtype="float32", seed=0):
    x = np.random.default_rng(seed).random((n, c, *size))
    return (x * 256).astype("uint8") if dtype == "uint8" else x.astype(dtype)


def put(x):
    return xpconv.asarray(x)


def host(x):
    return xpconv.asnumpy(x)


def test_all_are_here():
    """A new transform is added to the lists above."""
    assert {type(t).__name__ for t in [*ALL, *MIXING]} == set(transforms.__all__)
    moving = [getattr(transforms, name) for name in transforms.__all__]
    moving = {t for t in moving if issubclass(t, transforms.RandomHorizontalFlip.__mro__[2])}
    assert {type(t) for t in MASKED} == moving


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_same_images_on_every_backend(backend, transform, dtype):
    if dtype == "uint8" and transform in FLOATING:
        pytest.skip("refused")
    x = images(dtype=dtype)
    with xpconv.use_backend("numpy"):
        expected = transform(x, np.random.default_rng(3))
    found = transform(put(x), 3)
    assert xpconv.get_xp(found) is xpconv.get_xp()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if not isinstance(transform, ToDtype):
        assert found.dtype == dtype
    near = {"uint8": 1, "float16": 2e-3, "float32": 1e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(host(found).astype("f8"), expected.astype("f8"), rtol=near, atol=near)
    if found.dtype != "uint8" and transform not in FLOATING and dtype != "uint8":
        assert host(found).min() > -0.3 and host(found).max() < 1.3


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_a_batch_is_a_tuple_whose_other_arrays_stay(backend, transform):
    x, y, weight = put(images()), put(np.arange(5)), put(np.ones(5, "float32"))
    alone = transform(x, 3)
    found = transform((x, y, weight), 3)
    assert isinstance(found, tuple) and len(found) == 3
    np.testing.assert_array_equal(host(found[0]), host(alone))
    np.testing.assert_array_equal(host(found[1]), host(y))
    np.testing.assert_array_equal(host(found[2]), host(weight))
    (only,) = transform((x,), 3)
    np.testing.assert_array_equal(host(only), host(alone))


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_one_image_is_a_batch_of_one(backend, transform):
    x = put(images(1))
    batch, single = transform(x, 3), transform(x[0], 3)
    assert single.ndim == 3
    np.testing.assert_array_equal(host(single), host(batch[0]))
    image, label = transform((x[0], 7), 3)
    assert label == 7
    np.testing.assert_array_equal(host(image), host(single))


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize(("n", "c", "size"), [(0, 3, SIZE), (2, 1, (1, 1)), (3, 3, (1, 5)), (1, 1, (8, 2))])
def test_empty_and_odd_batches(backend, transform, n, c, size):
    if isinstance(transform, Compose) and not isinstance(transform, RandomApply) and 1 in size:
        pytest.skip("its crop is larger")
    if isinstance(transform, RandomCrop) and not transform.pad_if_needed and min(size) < 2:
        transform = RandomCrop(5, padding=4)
    elif isinstance(transform, (RandomCrop, Compose)) and not isinstance(transform, RandomApply):
        transform = RandomCrop(6, pad_if_needed=True)
    x = images(n, c, size)
    found = transform(put(x), 0)
    whole = transform(put(images(2, c, size)), 0)
    assert found.shape == (n, *whole.shape[1:]) and found.dtype == whole.dtype
    assert np.isfinite(host(found)).all()


@pytest.mark.parametrize("transform", [*ALL, *MIXING], ids=repr)
@pytest.mark.parametrize("form", ["channels last", "every second", "backward", "read-only"])
def test_any_memory_and_nothing_is_changed(transform, form):
    x = images()
    given = {
        "channels last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "every second": np.repeat(x, 2, axis=3)[..., ::2],
        "backward": np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
        "read-only": x.copy(),
    }[form]
    given.flags.writeable = form != "read-only"
    y = np.arange(5) % 4
    y.flags.writeable = False
    found = transform((given, y), 0)
    expected = transform((x.copy(), y), 0)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(given, x)


@pytest.mark.parametrize("transform", [*ALL, *MIXING], ids=repr)
def test_draws_come_from_the_given_generator_alone(transform):
    """A seed and a generator of it are the same; None is the generator of `manual_seed`."""
    batch = images(), np.arange(5) % 4
    state = np.random.get_state()[1].copy()
    rng = np.random.default_rng(5)
    first, second = transform(batch, rng), transform(batch, rng)
    np.testing.assert_array_equal(transform(batch, 5)[0], first[0])
    if transform in RANDOM or transform in MIXING:
        assert (first[0] != second[0]).any()
    xpconv.manual_seed(5)
    np.testing.assert_array_equal(transform(batch)[0], first[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_each_image_of_a_batch_has_draws_of_its_own(transform):
    same = np.repeat(images(1), 64, axis=0)
    found = transform(same, 0)
    assert len(np.unique(found.reshape(64, -1), axis=0)) >= (
        2 if "Flip" in repr(transform) and "Compose" not in repr(transform) else 4
    )


@pytest.mark.parametrize("transform", [*ALL, *MIXING], ids=repr)
def test_copies_and_pickles_do_the_same(transform):
    batch = images(), np.arange(5) % 4
    for twin in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):  # noqa: S301
        assert repr(twin) == repr(transform)
        np.testing.assert_array_equal(twin(batch, 0)[0], transform(batch, 0)[0])


@pytest.mark.parametrize("transform", [*ALL, *MIXING], ids=repr)
def test_the_repr_is_the_call_that_makes_it(transform):
    twin = eval(repr(transform), vars(transforms))
    assert repr(twin) == repr(transform)
    batch = images(), np.arange(5) % 4
    np.testing.assert_array_equal(twin(batch, 0)[0], transform(batch, 0)[0])


@pytest.mark.parametrize("transform", [*ALL, *MIXING], ids=repr)
def test_nothing_waits_for_the_device(transform):
    import double

    with xpconv.use_backend("double"):
        batch = put(images()), put(np.arange(5) % 4)
        with double.count_syncs() as counter:
            transform(batch, 0)
        assert counter.n == 0


@pytest.mark.parametrize("transform", MASKED, ids=repr)
@pytest.mark.parametrize("block", [1, 2 * 3 * 7 * 6])
def test_by_blocks_of_images(backend, monkeypatch, transform, block):
    """One image, or two, at a time: the same images and masks, in the same memory order."""
    batch = put(images()), put(images(c=1, dtype="uint8"))
    whole = transform(batch, 3)
    for name in ("BLOCK", "DEVICE_BLOCK"):
        monkeypatch.setattr(base, name, block)
    for found, expected in zip(transform(batch, 3), whole, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(host(found), host(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "transform",
    [
        RandomCrop(256, padding=4), RandomResizedCrop(256), Resize((256, 128), "bicubic"), RandomRotation(20),
        RandomAffine(10, (0.1, 0.1), interpolation="bilinear"), RandomHorizontalFlip(),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memory_of_large_images(transform, dtype):
    """Besides the result, that of a few images of the batch."""
    x = np.zeros((64, 3, 256, 256), dtype)
    tracemalloc.start()
    y = transform(x, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < y.nbytes + 8 * 4 * base.BLOCK


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
@pytest.mark.parametrize("channels", [(), (1,), (2,)], ids=str)
@pytest.mark.parametrize("transform", MASKED, ids=repr)
def test_masks_move_with_their_images(backend, transform, channels, dtype):
    """An image of large blocks is its own mask: values stay those of the mask, and lie where the image's lie."""
    if dtype == "bool" and getattr(transform, "mask_fill", 0):
        transform = copy.copy(transform)
        transform.mask_fill = 1
    block = np.random.default_rng(1).integers(0, 2, (5, 1, 2, 2)).repeat(8, 2).repeat(8, 3)
    image, mask = block.astype("float32"), block.astype(dtype)
    mask = mask[:, 0] if not channels else mask.repeat(channels[0], axis=1)
    moved, found = transform((put(image), put(mask)), 4)
    assert found.dtype == dtype and found.shape == (5, *channels, *moved.shape[2:])
    moved, found = host(moved), host(found).reshape(5, -1, *moved.shape[2:]).astype("float32")
    values = {0, 1, getattr(transform, "mask_fill", 0)}
    assert set(np.unique(found)) <= values
    same = (found == np.rint(moved)) | (found == getattr(transform, "mask_fill", 0))
    assert same.mean() > 0.97
    one, mask_of_one = transform((put(image[0]), put(mask[0])), 4)
    assert one.shape == moved.shape[1:] and mask_of_one.shape == (*channels, *one.shape[1:])
    if "Random" not in repr(transform):
        np.testing.assert_array_equal(host(mask_of_one).reshape(found[0].shape), found[0])


def test_masks_that_do_not_fit():
    flip, x = RandomHorizontalFlip(masks=1), images(2)
    with pytest.raises(
        ShapeError, match=r"RandomHorizontalFlip: masks is \(1,\), but the batch has 1 arrays"
    ):
        flip(x)
    expected = (
        r"RandomHorizontalFlip: mask 1 of the batch has shape {}, expected \(2, 7, 6\) or \(2, C, 7, 6\)"
    )
    for shape in [(2, 6, 7), (3, 7, 6), (7, 6), (2, 1, 1, 7, 6), (2,)]:
        with pytest.raises(
            ShapeError, match=expected.format(str(shape).replace("(", r"\(").replace(")", r"\)"))
        ):
            flip((x, np.zeros(shape)))
    with pytest.raises(
        ShapeError, match=r"mask 1 of the batch has shape \(2, 7, 6, 1\), expected \(7, 6\) or"
    ):
        flip((x[0], np.zeros((2, 7, 6, 1))))
    with pytest.raises(BackendError, match=r"mask 1 of the batch: expected an array of"):
        flip((x, [1, 2]))
    with pytest.raises(BackendError, match="mask 1 of the batch is on double but the images are on numpy"):
        flip((x, xpconv.asarray(np.zeros((2, 7, 6)), backend="double")))
    with pytest.raises(ValueError, match="RandomHorizontalFlip: masks is 0, expected at least 1"):
        RandomHorizontalFlip(masks=0)


BAD_IMAGES = [
    ([1.0], BackendError, "images: expected an array of .*, got builtins.list; .*tuple"),
    ((), BackendError, "images: expected an array .* got builtins.tuple"),
    (None, BackendError, "images: expected an array .* got builtins.NoneType"),
    (np.zeros((8, 8)), ShapeError, r"images have shape \(8, 8\), expected \(N, C, H, W\), or \(C, H, W\) for one"),
    (np.zeros((1, 1, 1, 8, 8)), ShapeError, "expected .N, C, H, W."),
    (np.zeros((2, 3, 0, 8)), ShapeError, r"images have shape \(2, 3, 0, 8\)"),
    (np.zeros((2, 0, 8, 8)), ShapeError, r"images have shape \(2, 0, 8, 8\)"),
    (np.zeros((2, 3, 8, 8), "int64"), DTypeError, "images are int64, expected uint8 .0 to 255. or floating"),
    (np.zeros((2, 3, 8, 8), "bool"), DTypeError, "images are bool"),
    (np.zeros((2, 3, 8, 8), "complex64"), DTypeError, "images are complex64"),
    (np.zeros((2, 3, 8, 8), ">f4"), DTypeError, "byte order"),
    (np.ma.zeros((2, 3, 8, 8)), BackendError, "masks are not supported"),
]  # fmt: skip


@pytest.mark.parametrize(
    "transform", [*ALL[:3], ALL[6], ColorJitter(0.1), RandomApply([]), *MIXING], ids=repr
)
@pytest.mark.parametrize(("given", "error", "message"), BAD_IMAGES)
def test_what_is_not_a_batch_of_images(transform, given, error, message):
    for batch in (given,) if isinstance(given, tuple) else (given, (given, np.zeros(2, int))):
        with pytest.raises(error, match=f"^{type(transform).__name__}: .*{message}"):
            transform(batch, 0)


def test_seeds_that_are_none():
    for transform in (ALL[0], Compose([]), RandomApply([])):
        name = type(transform).__name__
        with pytest.raises(TypeError, match=f"{name}: rng is 'x', expected a seed"):
            transform(images(), "x")
        with pytest.raises(ValueError, match=f"{name}: rng is -1, expected at least 0"):
            transform(images(), -1)


@pytest.mark.parametrize(
    "transform", [RandomErasing(value="random"), Normalize(0, 1), MixUp(num_classes=3)], ids=repr
)
def test_what_needs_floating_images_says_how(transform):
    message = r"images are uint8, expected floating point.*put ToDtype\('float32', scale=True\) before"
    with pytest.raises(DTypeError, match=message):
        transform((images(dtype="uint8"), np.zeros(5, int)), 0)
    Compose([ToDtype("float32", scale=True), transform])((images(dtype="uint8"), np.zeros(5, int)), 0)


def test_one_gray_image_gets_the_advice_for_one(backend):
    flip = transforms.RandomHorizontalFlip(1.0)
    for shape, said in (((8, 9), r"one gray image is x\[None\]$"), ((1, 2, 3, 8, 9), r"for one image$")):
        with pytest.raises(ValueError, match=said):
            flip(xpconv.asarray(np.zeros(shape, "float32")))

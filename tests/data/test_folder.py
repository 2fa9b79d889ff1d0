"""Folders of images: order, sizes, modes, damaged files, links; read alone, in threads and as a whole."""

import os
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import xpconv
from xpconv.data import batches, channel_mean_std, image_folder, train_test_split
from xpconv.errors import DataFileError, DTypeError, ShapeError

Image = pytest.importorskip("PIL.Image")


def picture(seed=0, height=6, width=8, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if pixels is None else pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two cats and three dogs, of one size, and what is none of them."""
    for k, name in enumerate(["dog/2.png", "dog/10.png", "cat/b.png", "cat/A.png", "dog/more/1.png"]):
        save(tmp_path / name, picture(k))
    save(tmp_path / "cat" / ".hidden.png")
    save(tmp_path / ".git" / "1.png")
    save(tmp_path / "outside.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"\0")
    return tmp_path


EXPECTED = ["cat/A.png", "cat/b.png", "dog/10.png", "dog/2.png", "dog/more/1.png"]


def test_order_classes_and_items(folder):
    found = image_folder(folder)
    assert found.classes == ("cat", "dog") and found.targets.tolist() == [0, 0, 1, 1, 1]
    assert [p.relative_to(folder).as_posix() for p in found.paths] == EXPECTED
    assert (
        found.targets.dtype == "int64"
        and found.skipped == []
        and len(found) == 5
        and found.shape == (3, 6, 8)
    )
    for i, path in enumerate(found.paths):
        image, target = found[i]
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1)
        assert image.dtype == "float32" and image.flags.c_contiguous and image.flags.writeable
        np.testing.assert_array_equal(image, pixels.astype("float32") / np.float32(255))
        assert target == found.targets[i] and type(target) is int
    assert found[-1][1] == 1 and found[np.int64(0)][1] == 0
    with pytest.raises(IndexError, match="image_folder: index is 5, but there are 5 images"):
        found[5]
    with pytest.raises(TypeError, match="image_folder: index is 'x', expected an int"):
        found["x"]
    for bad in ([7], [True], [0.5], np.zeros((2, 2), bool)):
        with pytest.raises(IndexError, match="image_folder: index: "):
            found[bad]
    assert repr(found) == f"image_folder({str(folder)!r}, 5 images of (3, 6, 8), classes cat, dog)"
    assert [target for _, target in found] == [0, 0, 1, 1, 1]  # iterates


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_load(backend, folder, mode, dtype):
    found = image_folder(str(folder), mode=mode, dtype=dtype)
    x, y = found.load()
    assert xpconv.get_xp(x, y) is xpconv.get_xp()
    assert x.shape == (5, len(mode), 6, 8) and x.dtype == dtype and y.dtype == "int64"
    for i, path in enumerate(found.paths):
        pixels = np.asarray(Image.open(path).convert(mode)).reshape(6, 8, -1).transpose(2, 0, 1)
        expected = pixels if dtype == "uint8" else pixels.astype(dtype) / np.dtype(dtype).type(255)
        np.testing.assert_array_equal(xpconv.asnumpy(x[i]), expected)
        np.testing.assert_array_equal(found[i][0], expected)
    assert xpconv.asnumpy(y).tolist() == found.targets.tolist()


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_of_a_folder(folder, workers):
    found = image_folder(folder, size=4)
    seen = list(batches(found, batch_size=2, shuffle=True, seed=0, workers=workers))
    assert [x.shape for x, _ in seen] == [(2, 3, 4, 4), (2, 3, 4, 4), (1, 3, 4, 4)]
    x, y = found.load()
    order = [int(np.flatnonzero((x == image).all((1, 2, 3)))[0]) for part, _ in seen for image in part]
    assert sorted(order) == list(range(5))
    assert np.concatenate([target for _, target in seen]).tolist() == y[order].tolist()


def test_several_threads(folder):
    found = image_folder(folder)
    alone = [found[i][0] for i in range(5)] * 20
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: found[i][0], list(range(5)) * 20))
    np.testing.assert_array_equal(together, alone)


def test_statistics(folder):
    found = image_folder(folder)
    for a, b in zip(channel_mean_std(found), channel_mean_std(found.load()[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_large_photos(tmp_path):
    """They are decoded at a lower resolution, which does not show."""
    y, x = np.mgrid[:600, :900]
    pixels = np.stack([x * 255 // 899, y * 255 // 599, (x + y) % 256 // 128 * 255], -1).astype("uint8")
    for name in ("a/1.jpg", "a/2.png"):
        save(tmp_path / name, pixels)
    x, _ = image_folder(tmp_path, size=(40, 60)).load()
    np.testing.assert_allclose(x[0], x[1], atol=0.12)
    assert abs(x[0] - x[1]).mean() < 0.01


def test_parts(folder):
    found = image_folder(folder)
    part = found[[4, 0]]
    assert [p.name for p in part.paths] == ["1.png", "A.png"] and part.targets.tolist() == [1, 0]
    assert part.classes == found.classes and len(found) == 5
    np.testing.assert_array_equal(part[0][0], found[4][0])
    assert len(found[1:4]) == 3 and len(found[np.array([], int)]) == 0
    assert found[found.targets == 1].targets.tolist() == [1, 1, 1]
    train, test = train_test_split(
        image_folder(folder)[[0, 1, 2, 3]], test_size=2, seed=0, stratify=[0, 0, 1, 1]
    )
    assert sorted(train.targets.tolist()) == sorted(test.targets.tolist()) == [0, 1]
    assert not set(train.paths) & set(test.paths)
    twin = pickle.loads(pickle.dumps(part))  # noqa: S301
    np.testing.assert_array_equal(twin.load()[0], part.load()[0])
    x, y = found[:0].load()
    assert x.shape == (0, 3, 6, 8) and y.shape == (0,)


# --- sizes and modes ---------------------------------------------------------------------------------


def test_different_sizes(folder):
    save(folder / "dog" / "z.png", picture(9, 12, 10))
    with pytest.raises(ShapeError, match=r"images differ in size: .*A.png has \(6, 8\) .height, width., but .*z.png has "
                       r"\(12, 10\); give size="):  # fmt: skip
        image_folder(folder)
    assert image_folder(folder, size=(5, 4)).load()[0].shape == (6, 3, 5, 4)
    assert image_folder(folder, 7)[5][0].shape == (3, 7, 7)


def test_size_keeps_the_ratio(tmp_path):
    """A wide image with a mark in the middle: its sides are cut off."""
    pixels = np.zeros((20, 60, 3), "uint8")
    pixels[:, 20:40] = 255
    save(tmp_path / "a" / "1.png", pixels)
    image, _ = image_folder(tmp_path, size=10, dtype="uint8")[0]
    assert (image[:, :, 1:-1] > 200).all()
    image, _ = image_folder(tmp_path, size=(10, 30), dtype="uint8")[0]
    assert (image[:, :, :9] < 50).all() and (image[:, :, 11:19] > 200).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_exif_says(tmp_path, orientation):
    ImageOps = pytest.importorskip("PIL.ImageOps")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a" / "1.jpg", picture(), exif=exif)
    found = image_folder(tmp_path, dtype="uint8")
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    assert found.shape == expected.shape == ((3, 8, 6) if orientation > 4 else (3, 6, 8))
    np.testing.assert_array_equal(found[0][0], expected)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "bmp", "gif", "webp", "tif", "TIFF", "ppm", "pgm"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats(tmp_path, suffix, mode):
    options = {"lossless": True} if suffix == "webp" else {}
    gray = suffix == "pgm"
    path = save(tmp_path / "a" / f"1.{suffix}", picture(channels=1 if gray else 3), **options)
    found = image_folder(tmp_path, mode=mode, dtype="uint8")
    image, _ = found[0]
    assert image.shape == (len(mode), 6, 8) and found.shape == image.shape
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert(mode)).reshape(6, 8, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "kind", ["1", "L", "LA", "P", "P with transparency", "RGBA", "CMYK", "YCbCr", "I;16", "I"]
)
def test_modes_of_files(tmp_path, kind):
    base = Image.fromarray(picture())
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.tif"
    if kind == "I;16":
        deep = picture(channels=1).astype("uint16") * 257
        Image.fromarray(deep).save(path)
        expected = (deep >> 8).astype("uint8")
        for mode in ("L", "RGB"):
            image, _ = image_folder(tmp_path, mode=mode, dtype="uint8")[0]
            np.testing.assert_array_equal(image, np.stack([expected] * len(mode)))
        return
    if kind == "I":
        Image.fromarray(picture(channels=1).astype("int32")).save(path)
        with pytest.raises(
            DataFileError, match=r"1.tif \(its pixels have 32 bits .Pillow's mode I.; store it with 8"
        ):
            image_folder(tmp_path)[0]
        return
    if kind.startswith("P"):
        path = path.with_suffix(".png")
        image = base.convert("P")
        image.save(path, **({"transparency": bytes(range(256))} if kind != "P" else {}))
    else:
        base.convert(kind).save(path)
        try:
            with Image.open(path) as file:
                file.load()
        except OSError as error:
            pytest.skip(f"this version of Pillow cannot read the TIFF that it has written: {error}")
    for mode in ("L", "RGB"):
        image, _ = image_folder(tmp_path, mode=mode)[0]
        assert image.shape == (len(mode), 6, 8) and image.max() <= 1


# --- damaged files -----------------------------------------------------------------------------------


@pytest.fixture
def damaged(folder):
    whole = save(folder / "cat" / "cut.jpg", picture(height=6, width=8)).read_bytes()
    (folder / "cat" / "cut.jpg").write_bytes(whole[: len(whole) - 40])
    (folder / "dog" / "text.png").write_text("hello")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    return folder


def test_what_cannot_be_opened_is_named_at_once(damaged):
    with pytest.raises(DataFileError) as caught:
        image_folder(damaged)
    text = str(caught.value)
    assert text.startswith("image_folder: 2 files are not intact images: ")
    assert "empty.jpg (not an image)" in text and "text.png (not an image)" in text
    assert text.endswith("remove or replace them, or give on_error='skip'")


def test_what_breaks_off_is_named_when_read(damaged):
    (damaged / "dog" / "text.png").unlink(), (damaged / "dog" / "empty.jpg").unlink()
    found = image_folder(damaged)
    index = [p.name for p in found.paths].index("cut.jpg")
    with pytest.raises(
        DataFileError, match=r"1 file is not an intact image: .*cut.jpg \(.*truncated"
    ) as caught:
        found[index]
    assert isinstance(caught.value.__cause__, OSError)
    save(damaged / "cat" / "gone.png")
    found = image_folder(damaged)
    (damaged / "cat" / "gone.png").unlink()
    with pytest.raises(
        DataFileError, match=r"2 files are not .*cut.jpg \(.*truncated.*gone.png \(.*No such file"
    ):
        found.load()


def test_skipped(damaged):
    found = image_folder(damaged, on_error="skip")
    assert [p.relative_to(damaged).as_posix() for p in found.paths] == EXPECTED
    assert [p.name for p in found.skipped] == ["cut.jpg", "empty.jpg", "text.png"]
    assert found.targets.tolist() == [0, 0, 1, 1, 1] and found.load()[0].shape == (5, 3, 6, 8)


def test_a_class_of_damaged_files_only(damaged):
    (damaged / "fish").mkdir()
    (damaged / "fish" / "1.png").write_text("hello")
    with pytest.raises(
        DataFileError, match="fish has no intact image; put images there, or remove the folder"
    ):
        image_folder(damaged, on_error="skip")


def test_many_damaged_files(folder):
    for k in range(25):
        (folder / "cat" / f"x{k:02}.png").write_text("hello")
    with pytest.raises(
        DataFileError, match=r"25 files are not intact images: .*x09.png \(not an image\) and 15 more;"
    ):
        image_folder(folder)


def test_every_cut_and_every_changed_byte_is_an_image_or_an_error(tmp_path):
    for suffix in ("png", "jpg", "gif", "bmp"):
        path = save(tmp_path / suffix / f"1.{suffix}", picture(height=3, width=4))
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        for k in range(150):
            raw = bytearray(whole)
            if k % 2:
                raw = raw[: rng.integers(len(raw))]
            else:
                raw[rng.integers(len(raw))] ^= int(rng.integers(1, 256))
            path.write_bytes(raw)
            try:
                image, target = image_folder(tmp_path, size=4)[0]
            except DataFileError as error:
                outcome = path.name in str(error)
            else:
                outcome = image.shape == (3, 4, 4) and target == 0
            assert outcome
        path.unlink(), path.parent.rmdir()


# --- folders -----------------------------------------------------------------------------------------


def test_no_folder_no_classes_no_images(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"image_folder: there is no folder .*nowhere; check the path"
    ):
        image_folder(tmp_path / "nowhere")
    path = save(tmp_path / "1.png")
    with pytest.raises(NotADirectoryError, match=r"1.png is a file; give the folder of the classes' folders"):
        image_folder(path)
    with pytest.raises(
        DataFileError, match=r"has no folders; put the images of each class into a folder of its own"
    ):
        image_folder(tmp_path)
    save(tmp_path / "a" / "1.png")
    (tmp_path / "b" / "deeper").mkdir(parents=True)
    (tmp_path / "b" / "notes.txt").write_text("none")
    with pytest.raises(
        DataFileError, match=r"b has no images \(.bmp, .*; put some there, or remove the folder"
    ):
        image_folder(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "fish" / "1.png")
    (folder / "fish").symlink_to(elsewhere / "fish")
    (folder / "cat" / "c.png").symlink_to(elsewhere / "fish" / "1.png")
    (folder / "dog" / "more" / "circle").symlink_to(folder / "dog")
    found = image_folder(folder)
    assert found.classes == ("cat", "dog", "fish") and np.bincount(found.targets).tolist() == [3, 3, 1]
    (folder / "cat" / "broken.png").symlink_to(elsewhere / "nowhere.png")
    with pytest.raises(DataFileError, match=r"broken.png \(.*No such file"):
        image_folder(folder)
    assert [p.name for p in image_folder(folder, on_error="skip").skipped] == ["broken.png"]


def test_bad_arguments(folder):
    for options, error, message in [
        ({"size": 0}, ValueError, "image_folder: size is 0, expected at least 1"),
        ({"size": (1, 2, 3)}, ValueError, "image_folder: size is (1, 2, 3), expected an int or 2 of them"),
        ({"size": 2.5}, TypeError, "image_folder: size is 2.5, expected an int"),
        ({"mode": "BGR"}, ValueError, "image_folder: mode is 'BGR', expected 'RGB' or 'L'"),
        ({"dtype": "int64"}, DTypeError, "image_folder: dtype: expected a floating dtype, as pixels are scaled to [0, 1], or uint8"),
        ({"on_error": "ignore"}, ValueError, "image_folder: on_error is 'ignore', expected 'raise' or 'skip'"),
    ]:  # fmt: skip
        with pytest.raises(error, match=re.escape(message)):
            image_folder(folder, **options)
    with pytest.raises(TypeError, match="image_folder: path is 7, expected a path"):
        image_folder(7)


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"image_folder: Pillow .*pip install pillow"):
        image_folder(Path(folder))

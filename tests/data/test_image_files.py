"""Single image files: read as a folder of images by class reads them."""

import numpy as np
import pytest

import xpconv
from xpconv.data import image_files, image_folder, read_image
from xpconv.errors import DataFileError

Image = pytest.importorskip("PIL.Image", reason='pip install -e ".[train]"')


@pytest.mark.parametrize("size", [None, 8, (6, 10)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_as_a_folder_reads_it(tmp_path, size, mode, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype="uint8")
    (tmp_path / "class").mkdir()
    path = tmp_path / "class" / "1.png"
    Image.fromarray(pixels).save(path)
    expected, _ = image_folder(tmp_path, size, mode=mode, dtype=dtype)[0]
    found = read_image(str(path), size, mode=mode, dtype=dtype)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    if (size, mode, dtype) == (None, "RGB", "uint8"):
        np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))


def test_files_of_a_folder(tmp_path):
    for name in ("b.PNG", "deep/er/a.jpeg", ".hidden.png", "notes.txt", "c.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [file.relative_to(tmp_path).as_posix() for file in image_files(tmp_path)] == [
        "b.PNG", "c.webp", "deep/er/a.jpeg",
    ]  # fmt: skip


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_image(tmp_path / "no.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataFileError, match="not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ValueError, match="mode"):
        read_image(tmp_path / "text.png", mode="CMYK")
    with pytest.raises(ValueError, match="size"):
        read_image(tmp_path / "text.png", 0)
    with pytest.raises(TypeError, match="path"):
        read_image(3)
    assert xpconv.data.read_image is read_image


def test_errors_name_the_function(tmp_path):
    file = tmp_path / "text.png"
    file.write_text("text")
    with pytest.raises(DataFileError, match=r"^read_image: 1 file .* remove or replace it$"):
        read_image(file)
    with pytest.raises(FileNotFoundError, match=r"^image_files: there is no folder"):
        image_files(tmp_path / "none")
    with pytest.raises(NotADirectoryError, match=r"^image_files: .* is a file"):
        image_files(file)

"""Pictures: what is in them, that nothing overlaps or is cut off, and that matplotlib's state stays."""

import io
import sys

import numpy as np
import process
import pytest

import xpconv
from xpconv import Conv2d, Dense, Flatten, ReLU, Sequential
from xpconv.errors import ShapeError

matplotlib = pytest.importorskip("matplotlib")

from xpconv import plot
from xpconv.plot.figures import WIDTH, Tiles, pictures

RNG = np.random.default_rng(8)
X = RNG.random((9, 3, 12, 20)).astype("float32")
LABELS = RNG.integers(0, 4, 9)


def net():
    return Sequential(
        Conv2d(3, 70, 3, padding=1, rng=0),
        ReLU(),
        xpconv.AdaptiveAvgPool2d(1),
        Flatten(),
        Dense(70, 4, rng=1),
    )


def trained():
    model = net()
    model.backward(model(X), input_grad=False)
    return model


DRAW = {
    "kernels of 1 channel": lambda ax=None: plot.kernels(Conv2d(1, 32, 5, rng=0), ax),
    "kernels of 3 channels": lambda ax=None: plot.kernels(Conv2d(3, 100, 7, rng=0), ax),
    "kernels of many channels": lambda ax=None: plot.kernels(Conv2d(24, 40, 3, rng=0), ax),
    "one kernel": lambda ax=None: plot.kernels(Conv2d(1, 1, 1, rng=0), ax),
    "kernels of 1×7": lambda ax=None: plot.kernels(Conv2d(2, 300, (1, 7), rng=0), ax),
    "kernels of a signal": lambda ax=None: plot.kernels(xpconv.Conv1d(3, 12, 9, rng=0), ax),
    "kernels of a volume": lambda ax=None: plot.kernels(xpconv.Conv3d(1, 6, 3, rng=0), ax),
    "transposed kernels": lambda ax=None: plot.kernels(xpconv.ConvTranspose2d(5, 7, 2, rng=0), ax),
    "feature maps": lambda ax=None: plot.feature_maps(net(), X, "1", 1, ax),
    "signed feature maps": lambda ax=None: plot.feature_maps(net(), X, "0", -1, ax),
    "grad-cam": lambda ax=None: plot.grad_cam(net(), X[:5], "1", LABELS[:5], ax),
    "grad-cam of one": lambda ax=None: plot.grad_cam(net(), X[:1], "1", 2, ax),
    "grad-cam of too many": lambda ax=None: plot.grad_cam(net(), X, "1", ax=ax),
    "saliency": lambda ax=None: plot.saliency(net(), X[:3], [0, 1, 2], ax),
    "saliency of tall images": lambda ax=None: plot.saliency(net(), X.transpose(0, 1, 3, 2)[:2], 1, ax),
    "gradients": lambda ax=None: plot.gradients(trained(), ax),
    "confusion of 2": lambda ax=None: plot.confusion_matrix([0, 1], [0, 1], ax=ax),
    "confusion of 10": lambda ax=None: plot.confusion_matrix(
        RNG.integers(0, 10, 5000), RNG.integers(0, 10, 5000), [f"automobile {i}" for i in range(10)], ax
    ),
    "confusion of 100": lambda ax=None: plot.confusion_matrix(RNG.integers(0, 100, 5000), RNG.integers(0, 100, 5000), ax=ax),
    "mistakes": lambda ax=None: plot.mistakes(RNG.random((99, 1, 8, 8)), RNG.integers(0, 10, 99), RNG.normal(size=(99, 10)), ax=ax),
    "mistakes with names": lambda ax=None: plot.mistakes(
        RNG.random((99, 1, 8, 8)), RNG.integers(0, 3, 99), RNG.normal(size=(99, 3)),
        ["a cat with a very long name indeed", "dog", "horse"], 7, ax,
    ),
    "no mistake": lambda ax=None: plot.mistakes(X, LABELS, np.eye(4)[LABELS], ax=ax),
}  # fmt: skip


def texts(figure):
    """The extents, in pixels, of all texts that are seen: not those of ticks out of view."""
    figure.draw_without_rendering()
    hidden = []
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not (ax.axison and low <= tick.get_loc() <= high):
                    hidden += [tick.label1, tick.label2]
    found = figure.findobj(matplotlib.text.Text)
    found = [t for t in found if t.get_visible() and t.get_text().strip() and t not in hidden]
    return [(t.get_text(), t.get_window_extent()) for t in found]


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", DRAW)
def test_no_text_overlaps_or_is_cut_off(name):
    """In the figure that is made: all text is within it, and apart from all other text."""
    figure = DRAW[name]()
    width, height = figure.get_size_inches() * figure.dpi
    found = texts(figure)
    titles = [t for t, box in found if t]
    assert titles
    for i, (text, box) in enumerate(found):
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        for other, second in found[:i]:
            over = (
                min(box.x1, second.x1) - max(box.x0, second.x0),
                min(box.y1, second.y1) - max(box.y0, second.y0),
            )
            assert min(over) <= 1, (text, other)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", DRAW)
def test_they_draw_into_given_axes(name):
    figure = matplotlib.figure.Figure(figsize=(9, 4))
    left, right = figure.subplots(1, 2)
    assert DRAW[name](right) is figure
    assert right.has_data() or name == "no mistake"
    assert not left.has_data()
    figure.draw_without_rendering()
    with pytest.raises(TypeError, match="ax is int, expected matplotlib's Axes, or None"):
        DRAW[name](3)


@pytest.mark.slow
def test_nothing_of_matplotlib_changes():
    """In a process of its own: settings, backend, the list of open figures, and nothing of pyplot is imported."""
    code = (
        "import matplotlib, sys, numpy as np, xpconv; before = dict(matplotlib.rcParams.copy());"
        "f = xpconv.plot.kernels(xpconv.Conv2d(1, 4, 3)); f._repr_png_();"
        "xpconv.plot.confusion_matrix([0, 1], [1, 0]).canvas.draw();"
        "assert dict(matplotlib.rcParams.copy()) == before; print('matplotlib.pyplot' in sys.modules)"
    )
    run = process.run([sys.executable, "-W", "error", "-c", code])
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_without_matplotlib_an_error_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None; import xpconv\n"
        "xpconv.inspection.confusion_matrix([0], [0])\n"
        "try: xpconv.plot\n"
        "except ImportError as error: print(error)"
    )
    run = process.run([sys.executable, "-c", code])
    assert run.stdout == "xpconv.plot: matplotlib is missing; pip install matplotlib\n", run.stderr


# --- what is in them ---------------------------------------------------------------------------------------


def shown(figure):
    return figure.axes[0].images[0]


def test_kernels_are_on_one_symmetric_scale():
    conv = Conv2d(1, 2, 24, rng=0)
    conv.weight.data[0, 0, 0, 0] = -3.0
    image = shown(plot.kernels(conv))
    assert image.get_clim() == (-3.0, 3.0)
    pixels = image.get_array()
    np.testing.assert_array_equal(pixels[:24, :24], conv.weight.data[0, 0])
    np.testing.assert_array_equal(pixels[:24, -24:], conv.weight.data[1, 0])
    middle = image.cmap(0.5)
    assert min(middle[:3]) > 0.95  # white


def test_colours_of_three_channels_have_grey_for_zero():
    conv = Conv2d(3, 2, 24, rng=0)
    conv.weight.data[0] = 0
    conv.weight.data[1, 0] = conv.weight.data[1].max() * 2
    pixels = shown(plot.kernels(conv)).get_array()
    np.testing.assert_allclose(pixels[:24, :24, :3], 0.5)
    np.testing.assert_allclose(pixels[:24, -24:, 0], 1.0)
    assert pixels[12, 25, 3] == 0  # transparent between the tiles


def test_special_values_of_weights():
    conv = Conv2d(1, 4, 3, rng=0)
    conv.weight.data[...] = 0
    assert shown(plot.kernels(conv)).get_clim() == (-1.0, 1.0)
    conv.weight.data[0, 0, 0, 0] = np.nan
    conv.weight.data[1, 0, 0, 0] = np.inf
    conv.weight.data[1, 0, 0, 1] = 0.25
    assert shown(plot.kernels(conv)).get_clim() == (-0.25, 0.25)
    half = Conv2d(1, 4, 3, rng=0).to(dtype="float16")
    assert len(plot.kernels(half)._repr_png_()) > 1000


def test_maps_and_images_of_the_device(backend):
    model, x = net().to(backend), xpconv.asarray(X, backend=backend)
    labels = xpconv.asarray(LABELS, backend=backend)
    for figure in (
        plot.kernels(model[0]), plot.feature_maps(model, x, "0"), plot.grad_cam(model, x, model[1], labels),
        plot.saliency(model, x, labels), plot.mistakes(x, labels, model(x)), plot.confusion_matrix(labels, model(x)),
    ):  # fmt: skip
        assert figure.axes


def test_feature_maps_begin_at_zero_only_without_negative_ones():
    maps = xpconv.inspection.feature_maps(net(), X, "1")
    image = shown(plot.feature_maps(net(), X, "1", 3))
    assert image.get_clim() == (0.0, pytest.approx(maps[3].max()))
    low, high = shown(plot.feature_maps(net(), X, "0", 3)).get_clim()
    assert low == -high < 0
    assert figure_title(plot.feature_maps(net(), X, "1")) == "layer 1: 64 of 70 maps of 12×20"
    assert figure_title(plot.grad_cam(net(), X, "1", 0)) == "Grad-CAM of layer 1"


def figure_title(figure):
    return figure.axes[0].get_title(loc="left")


def test_a_dark_image_and_a_map_of_zeros_stay_dark():
    dead = net()
    dead[4].weight.data[...] = 0
    x = np.zeros((2, 3, 12, 20), "float32")
    for figure in (plot.grad_cam(dead, x, "1", 0), plot.saliency(dead, x, 0)):
        pixels = shown(figure).get_array()
        assert np.isfinite(pixels).all()
        assert pixels[..., :3].max() < 0.1


def test_the_range_of_images():
    grey = np.full((1, 1, 2, 2), 0.25, "float32")
    np.testing.assert_allclose(pictures("", grey), 0.25)
    np.testing.assert_allclose(pictures("", np.full((1, 3, 2, 2), 51, "uint8")), 0.2)
    np.testing.assert_allclose(pictures("", np.full((1, 3, 2, 2), 51.0)), 0.2)
    scaled = pictures("", np.array([-2.0, 0, 2, 6]).reshape(1, 1, 2, 2))
    np.testing.assert_allclose(scaled[0, ..., 0], [[0, 0.25], [0.5, 1]])
    assert pictures("", RNG.normal(size=(2, 7, 4, 5))).shape == (2, 4, 5, 3)
    assert np.isfinite(pictures("", np.full((1, 1, 2, 2), np.nan, "float32"))).all()
    np.testing.assert_array_equal(pictures("", np.full((1, 1, 2, 2), -5.0)), 0)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (16, 4), (32, 8), (64, 8), (7, 4), (6, 3)])
def test_rows_of_tiles_are_full_where_possible(count, columns):
    tiles = Tiles(np.zeros((count, 24, 24)))
    assert tiles.columns == columns
    assert tiles.size[0] <= WIDTH


def test_gradients_without_a_place_on_the_scale_are_written():
    model = trained()
    model[0].weight.grad[...] = 0
    model[0].bias.grad[...] = 0
    figure = plot.gradients(model)
    assert [t.get_text().strip() for t in figure.axes[0].texts] == ["0"]
    model[4].weight.grad[0, 0] = np.nan
    assert [t.get_text().strip() for t in plot.gradients(model).axes[0].texts] == ["0", "nan"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["0", "4"]


def test_confusion_shows_counts_and_the_worst():
    figure = plot.confusion_matrix([0, 1, 1, 1, 2], [0, 2, 2, 1, 2], ["cat", "dog", "fox"])
    assert figure_title(figure).replace("\n", " ") == "Most often: dog taken for fox, 2 times"
    assert sorted(t.get_text() for t in figure.axes[0].texts) == ["1", "1", "1", "2"]
    assert (
        figure_title(plot.confusion_matrix([0, 1], [0, 1])).replace("\n", " ")
        == "No class is taken for another"
    )


def test_mistakes_are_ordered_by_probability():
    scores = np.array([[3.0, 0], [1, 0], [2, 0], [0, 5]])
    figure = plot.mistakes(X[:4], [1, 1, 1, 1], scores)
    assert [t.get_text() for t in figure.axes[0].texts] == [
        "1, not 0\n95% sure",
        "1, not 0\n88% sure",
        "1, not 0\n73% sure",
    ]
    assert figure_title(figure) == "3 mistakes on 4 images"
    assert (
        figure_title(plot.mistakes(X[:4], [1, 1, 1, 1], scores, most=2)).replace("\n", " ")
        == "The surest 2 of 3 mistakes on 4 images"
    )
    assert figure_title(plot.mistakes(X[:1], [1], scores[:1])) == "1 mistake on 1 image"


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (
            lambda: plot.kernels(Dense(3, 2)),
            TypeError,
            r"kernels: layer is Dense\(3, 2\), expected a convolution",
        ),
        (
            lambda: plot.kernels(xpconv.SeparableConv2d(3, 2, 3)),
            TypeError,
            r"its layers are layer\.depthwise",
        ),
        (
            lambda: plot.kernels(xpconv.LazyConv2d(3, 2)),
            TypeError,
            "without parameters, which its first forward makes",
        ),
        (lambda: plot.kernels(None), TypeError, "kernels: layer is None"),
        (
            lambda: plot.feature_maps(net(), X, "4"),
            ShapeError,
            r"the layer gives shape \(9, 4\), expected maps",
        ),
        (lambda: plot.feature_maps(net(), X, "1", 9), IndexError, "index is 9, but the batch has 9 images"),
        (lambda: plot.feature_maps(net(), X, "1", "a"), TypeError, "index is 'a'"),
        (lambda: plot.grad_cam(net(), X[0], "1"), ShapeError, r"x has shape \(3, 12, 20\), expected a batch"),
        (lambda: plot.grad_cam(net(), "x", "1"), ShapeError, "x is 'x', expected a batch"),
        (lambda: plot.grad_cam(net(), X, "1", [0]), ShapeError, "there are 1 targets for 9 images"),
        (lambda: plot.grad_cam(net(), X[:0], "1"), ShapeError, "x has no images"),
        (lambda: plot.saliency(net(), X, 7), ValueError, "target is 7, expected 0 to 3"),
        (lambda: plot.saliency(net(), X, 1.5), TypeError, r"target is 1\.5"),
        (lambda: plot.gradients(net()), ValueError, "no parameter has a gradient"),
        (lambda: plot.confusion_matrix([], []), ShapeError, "there are no labels and no classes"),
        (lambda: plot.mistakes(X, LABELS, LABELS), ShapeError, r"scores has shape \(9,\) for 9 images"),
        (lambda: plot.mistakes(X, LABELS[:2], np.eye(4)[LABELS]), ShapeError, "y_true has 2 labels"),
        (
            lambda: plot.mistakes(X, LABELS, np.eye(4)[LABELS], most=0),
            ValueError,
            "most is 0, expected at least 1",
        ),
    ],
)
def test_errors(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


def test_names_of_classes_are_text_and_no_formulas():
    """A dollar sign in a name begins no formula, which could not be drawn."""
    names = ["$1_{$", "x^2 $y$"]
    x, scores = np.zeros((2, 1, 8, 8), "float32"), np.array([[2.0, 0.0], [0.0, 1.0]])
    for figure in (
        plot.confusion_matrix([1, 0, 0], [0, 1, 1], names),
        plot.mistakes(x, [1, 0], scores, names),
    ):
        figure.savefig(io.BytesIO(), format="png")

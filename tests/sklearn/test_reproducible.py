"""The same seed, the same model; nothing of the process changes; pickles and copies, from a device as well."""

import copy
import io
import pickle
import sys
import threading

import numpy as np
import process
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from joblib import Parallel, delayed
from sklearn.base import clone

import xpconv
from xpconv import train
from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer

RNG = np.random.default_rng(0)
X = RNG.random((48, 8, 8))
Y = np.arange(48) % 3
FAST = {"max_epochs": 2, "random_state": 0, "model__width": 8}


def network(input_shape, n_outputs):
    """With dropout of its own generator, which has a state on a device."""
    return xpconv.Sequential(
        xpconv.Conv2d(1, 4, 3),
        xpconv.ReLU(),
        xpconv.Dropout(0.5, rng=7),
        xpconv.Flatten(),
        xpconv.Dense(144, n_outputs),
    )


def copied_by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))  # noqa: S301


def weights(estimator):
    return {name: xpconv.asnumpy(array) for name, array in estimator.model_.state_dict().items()}


def assert_same(a, b):
    assert weights(a).keys() == weights(b).keys()
    for name, array in weights(a).items():
        np.testing.assert_array_equal(array, weights(b)[name], err_msg=name)


def fitted(seed=0, **settings):
    return ConvClassifier(**{**FAST, "random_state": seed, **settings}).fit(X, Y)


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor])
def test_a_seed_decides_on_the_model(kind):
    first, again, other = (kind(**{**FAST, "random_state": seed}).fit(X, Y) for seed in (0, 0, 1))
    assert_same(first, again)
    assert any((weights(first)[n] != weights(other)[n]).any() for n in weights(first))
    state = [kind(**{**FAST, "random_state": np.random.RandomState(5)}).fit(X, Y) for _ in range(2)]
    assert_same(*state)


def test_the_processes_own_generators_are_not_touched():
    def snapshot():
        return np.random.get_state()[1].tolist(), xpconv.get_rng_state()

    def seeding(input_shape, n_outputs):
        xpconv.manual_seed(123)
        return xpconv.Sequential(xpconv.Flatten(), xpconv.Dropout(0.5), xpconv.LazyLinear(n_outputs))

    before = snapshot()
    first = fitted()
    xpconv.manual_seed(99)
    between = snapshot()
    assert_same(first, fitted())
    seeded = ConvClassifier(seeding, random_state=0, max_epochs=1).fit(X, Y)
    assert_same(seeded, ConvClassifier(seeding, random_state=0, max_epochs=1).fit(X, Y))
    assert snapshot() == between
    assert between[0] == before[0]


def test_without_a_seed_it_is_that_of_numpy():
    found = []
    for seed in (4, 4, None):  # None goes on with the numbers of NumPy
        if seed is not None:
            np.random.seed(seed)  # as scikit-learn's own estimators
        found.append(fitted(None))
    assert_same(found[0], found[1])
    assert any((array != weights(found[2])[name]).any() for name, array in weights(found[0]).items())


def test_threads_at_once():
    expected = [fitted(seed) for seed in range(3)]
    found = [None] * 3

    def learn(seed):
        found[seed] = fitted(seed)

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(expected, found, strict=True):
        assert_same(a, b)


def test_the_number_of_threads_does_not_matter():
    """Large enough for several threads, which round sums otherwise."""

    def wide(input_shape, n_outputs):
        layers = xpconv.Conv2d(3, 16, 3, padding=1), xpconv.BatchNorm2d(16), xpconv.ReLU(), xpconv.Flatten()
        return xpconv.Sequential(*layers, xpconv.LazyLinear(n_outputs))

    rng = np.random.default_rng(0)
    images, y = rng.random((64, 3, 40, 40)), np.arange(64) % 2
    before, models = xpconv.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            xpconv.set_num_threads(count)
            models.append(ConvClassifier(wide, max_epochs=2, batch_size=64, random_state=0).fit(images, y))
            assert xpconv.get_num_threads() == count
    finally:
        xpconv.set_num_threads(before)
    assert_same(models[0], models[1])
    assert_same(models[0], models[2])
    np.testing.assert_array_equal(models[0].predict_proba(images), models[2].predict_proba(images))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend):
    found = Parallel(n_jobs=2, backend=backend)(delayed(fitted)(seed) for seed in (0, 1, 2))
    for seed, estimator in enumerate(found):
        assert_same(estimator, fitted(seed))


# --- the backend ----------------------------------------------------------------------------------------


def test_the_backend_of_an_estimator_is_its_own():
    seen = []

    class Look:
        def on_epoch_end(self, run):
            seen.append((xpconv.get_backend(), run.backend.name))

    estimator = ConvClassifier(backend="double", callbacks=[Look()], **FAST).fit(X, Y)
    assert seen == [("double", "double")] * 2
    assert xpconv.get_backend() == "numpy"
    assert estimator.predict(X).shape == (48,)
    assert xpconv.get_backend() == "numpy"
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        ConvClassifier(backend="tpu").fit(X, Y)
    with pytest.raises(RuntimeError, match="stop"):
        ConvClassifier(backend="double", callbacks=[Stop()]).fit(X, Y)
    assert xpconv.get_backend() == "numpy"


class Stop:
    def on_epoch_end(self, run):
        raise RuntimeError("stop")


def test_backends_in_threads():
    barrier = threading.Barrier(2)
    seen = {}

    class Meet:
        def on_epoch_begin(self, run):
            barrier.wait()
            seen[threading.current_thread().name] = xpconv.get_backend()

    def learn(backend):
        ConvClassifier(network, backend=backend, callbacks=[Meet()], max_epochs=2, random_state=0).fit(X, Y)

    threads = [threading.Thread(target=learn, args=(name,), name=name) for name in ("numpy", "double")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"numpy": "numpy", "double": "double"}


def test_the_active_backend_is_the_default(backend):
    estimator = ConvRegressor(**FAST).fit(X, Y)
    xp = xpconv.get_xp(*(p.data for p in estimator.model_.parameters()))
    assert xp is xpconv.get_xp()
    assert isinstance(estimator.predict(X), np.ndarray)


@pytest.mark.parametrize("backend", ["double", "cupy"], indirect=True)
def test_same_model_on_every_backend(backend):
    """Without dropout, whose masks a GPU draws itself."""
    there = ConvClassifier(model__dropout=0.0, **FAST).fit(X, Y)
    with xpconv.use_backend("numpy"):
        here = ConvClassifier(model__dropout=0.0, **FAST).fit(X, Y)
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), rtol=1e-3, atol=1e-4)


# --- copies and pickles ---------------------------------------------------------------------------------

EVERY = {
    "classifier": lambda: ConvClassifier(early_stopping=True, **FAST),
    "regressor": lambda: ConvRegressor(callbacks=[train.EarlyStopping("loss")], **FAST),
    "partial": lambda: ConvClassifier(network, schedule="StepLR", schedule__step_size=1, random_state=0),
    "transformer": lambda: ConvTransformer(ConvClassifier(max_epochs=1, random_state=0)),
    "layer": lambda: ConvTransformer(network((1, 8, 8), 3)),
    "loss": lambda: ConvClassifier(
        loss=xpconv.CrossEntropyLoss(weight=xpconv.asarray(np.ones(3, "float32"))), **FAST
    ),
}


class WithoutDevice(pickle.Unpickler):
    """As on a machine without a GPU, and without CuPy."""

    def find_class(self, module, name):
        assert module.partition(".")[0] not in ("double", "cupy")
        return super().find_class(module, name)


@pytest.mark.parametrize("name", EVERY)
def test_pickles_have_numpy_arrays(backend, name):
    if backend == "numpy" and name not in ("classifier", "transformer"):
        pytest.skip("its arrays are NumPy's anyway")
    estimator = EVERY[name]()
    if name == "partial":
        estimator.partial_fit(X, Y, classes=[0, 1, 2])
    else:
        estimator.fit(X, Y)
    opened = WithoutDevice(io.BytesIO(pickle.dumps(estimator))).load()
    apply = "transform" if hasattr(estimator, "transform") else "predict"
    np.testing.assert_allclose(getattr(opened, apply)(X), getattr(estimator, apply)(X), rtol=1e-5, atol=1e-6)
    assert all(isinstance(array, np.ndarray) for array in opened.model_.state_dict().values())
    copied = copy.deepcopy(estimator)  # which stays where it is
    assert xpconv.get_xp(*copied.model_.state_dict().values()) is xpconv.get_xp()
    np.testing.assert_array_equal(getattr(copied, apply)(X), getattr(estimator, apply)(X))
    unfitted = clone(estimator)
    assert not hasattr(unfitted, "model_")
    assert copied_by_pickle(unfitted).get_params().keys() == estimator.get_params().keys()


def test_a_pickle_goes_on_as_the_original(backend):
    estimator = EVERY["partial"]().partial_fit(X, Y, classes=[0, 1, 2])
    opened = copied_by_pickle(estimator)
    for each in (estimator, opened):
        each.partial_fit(X, Y).partial_fit(X, Y)
    assert_same(estimator, opened)
    assert estimator.history_["lr"] == opened.history_["lr"] == pytest.approx([1e-3, 1e-4, 1e-5])
    warm = ConvClassifier(network, warm_start=True, max_epochs=1, random_state=0).fit(X, Y)
    opened = copied_by_pickle(warm)
    assert_same(warm.fit(X, Y), opened.fit(X, Y))


@pytest.mark.slow
def test_a_pickle_opens_in_another_process(tmp_path):
    """Where the double is not registered, as on a machine without a GPU."""
    estimator = ConvClassifier(backend="double", **FAST).fit(X, Y)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, sys, numpy as np; folder = sys.argv[1];"
        "model = pickle.load(open(folder + '/model.pkl', 'rb'));"
        "print(model.backend, model.predict(np.load(folder + '/x.npy')).tolist())"
    )
    run = process.run([sys.executable, "-c", code, str(tmp_path)])
    assert run.stdout.strip() == f"double {estimator.predict(X).tolist()}"


def test_the_network_by_itself_in_files(tmp_path):
    """With the standardisation of X and y, as it is in layers."""
    pytest.importorskip("safetensors", reason='pip install -e ".[train]"')
    for estimator in (ConvClassifier(**FAST).fit(X, Y), ConvRegressor(**FAST).fit(X, 100.0 * Y)):
        x = X[:, None].astype("float32")
        expected = (estimator.predict if estimator.n_outputs_ == 1 else estimator.decision_function)(X)
        xpconv.save_model(estimator.model_, tmp_path / "model.safetensors")
        loaded = xpconv.load_model(tmp_path / "model.safetensors").eval()
        np.testing.assert_allclose(loaded(x).reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
        fused = estimator.model_.fuse()
        np.testing.assert_allclose(fused(x).reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_the_network_by_itself_as_onnx(tmp_path):
    pytest.importorskip("onnx", reason='pip install -e ".[onnx]"')
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    classifier = ConvClassifier(**FAST).fit(X, Y)
    path = str(tmp_path / "model.onnx")
    xpconv.onnx.export(classifier.model_, path, classifier.input_shape_)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: X[:, None].astype("float32")})
    np.testing.assert_allclose(scores, classifier.decision_function(X), rtol=1e-4, atol=1e-5)

"""CNNs as scikit-learn estimators: `ConvClassifier`, `ConvRegressor` and `ConvTransformer`.

    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score
    from xpconv.sklearn import ConvClassifier

    digits = load_digits()
    print(cross_val_score(ConvClassifier(random_state=0), digits.images, digits.target, n_jobs=2))

Needs scikit-learn 1.5 or later: `pip install scikit-learn`.
"""

try:
    import sklearn as _scikit_learn
except ImportError as cause:
    raise ImportError(
        "xpconv.sklearn needs scikit-learn 1.5 or later, which cannot be imported; pip install scikit-learn"
    ) from cause
if tuple(map(int, _scikit_learn.__version__.split(".")[:2])) < (1, 5):
    raise ImportError(
        f"xpconv.sklearn needs scikit-learn 1.5 or later, found {_scikit_learn.__version__}; "
        "pip install -U scikit-learn"
    )

from .classifier import ConvClassifier
from .regressor import ConvRegressor
from .transformer import ConvTransformer

__all__ = ["ConvClassifier", "ConvRegressor", "ConvTransformer"]

"""Digits in a grid search of scikit-learn.

python3 examples/grid_search.py
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from xpconv.sklearn import ConvClassifier


def main(arguments: list[str] | None = None) -> float:
    """Choose a network by cross-validation; returns its accuracy on other digits."""
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(digits.images, digits.target, random_state=0)
    classifier = ConvClassifier(max_epochs=6, random_state=0)
    search = GridSearchCV(classifier, {"model__width": [8, 16], "learning_rate": [0.001, 0.005]}, cv=2)
    search.fit(x_train, y_train)
    for parameters, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        print(f"{score:.1%} in cross-validation with {parameters}")
    accuracy = float(search.score(x_test, y_test))
    print(f"test accuracy {accuracy:.2%} with {search.best_params_}")
    return accuracy


if __name__ == "__main__":
    main()

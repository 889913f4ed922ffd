"""Fitted models of scikit-learn, XGBoost, LightGBM and CatBoost, each with sample rows; small, from seeded numbers.

The names are what the table of ``python -m tests.models`` shows. Data sets are those that scikit-learn ships.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

Fitted = Callable[[], tuple[Any, Any]]
"""Returns a fitted model and sample rows as its training had them."""

_CHANCE = np.random.default_rng(18)
NUMBERS = _CHANCE.normal(size=(120, 4))
TWO = (NUMBERS[:, 0] + NUMBERS[:, 1] > 0).astype(int)
THREE = _CHANCE.integers(0, 3, 120)
TABLE = pd.DataFrame(
    {
        "age": _CHANCE.integers(18, 90, 120),
        "mean income": _CHANCE.normal(size=120).round(2),
        "city": _CHANCE.choice(["Seoul", "서울", ""], 120),
        "vip": _CHANCE.random(120) > 0.5,
    }
)
MISSING = np.where(NUMBERS > 1.2, np.nan, NUMBERS)
REVIEWS = pd.DataFrame(
    {
        "review": _CHANCE.choice(["good and cheap", "bad", "very good", "never again", "cheap but bad"], 120),
        "stars": _CHANCE.integers(1, 6, 120),
    }
)
NUMERIC, TEXT = ["age", "mean income"], ["city"]
_BRIEF = {"n_estimators": 5}


def encoded(*steps: Any) -> Any:
    """Return a pipeline that scales the numbers of TABLE, encodes its text, and goes on with ``steps``."""
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), NUMERIC), ("text", OneHotEncoder(handle_unknown="ignore"), TEXT)]
    )
    return make_pipeline(columns, *steps)


def cat(kind: Any, **options: Any) -> Any:
    """Return an estimator of CatBoost that is trained in a moment and writes no files."""
    return kind(iterations=5, verbose=0, allow_writing_files=False, **options)


def _texts(*steps: Any) -> Any:
    columns = ColumnTransformer([("words", TfidfVectorizer(), "review"), ("stars", StandardScaler(), ["stars"])])
    return make_pipeline(columns, *steps)


@cache
def _shipped(name: str) -> tuple[Any, Any]:
    loaded = getattr(datasets, f"load_{name}")()
    return loaded.data, loaded.target


SKLEARN: dict[str, Fitted] = {
    "logistic regression": lambda: (LogisticRegression().fit(NUMBERS, TWO), NUMBERS),
    "SGD, which has no probabilities": lambda: (SGDClassifier().fit(NUMBERS, TWO), NUMBERS),
    "linear SVC": lambda: (LinearSVC().fit(NUMBERS, TWO), NUMBERS),
    "SVC": lambda: (SVC().fit(NUMBERS, THREE), NUMBERS),
    "ridge classifier": lambda: (RidgeClassifier().fit(NUMBERS, THREE), NUMBERS),
    "perceptron": lambda: (Perceptron().fit(NUMBERS, THREE), NUMBERS),
    "ridge": lambda: (Ridge().fit(NUMBERS, NUMBERS[:, :2]), NUMBERS),
    "forest with text labels": lambda: (
        RandomForestClassifier(5).fit(NUMBERS, np.where(TWO, "yes", "no")),
        NUMBERS.astype(np.float32),
    ),
    "histogram classifier": lambda: (HistGradientBoostingClassifier(max_iter=5).fit(NUMBERS, THREE), NUMBERS),
    "histogram regressor": lambda: (HistGradientBoostingRegressor(max_iter=5).fit(NUMBERS, TWO), NUMBERS),
    "gradient boosting": lambda: (GradientBoostingRegressor(n_estimators=5).fit(NUMBERS, TWO), NUMBERS),
    "isolation forest": lambda: (IsolationForest(n_estimators=5).fit(NUMBERS), NUMBERS),
    "local outliers": lambda: (LocalOutlierFactor(novelty=True).fit(NUMBERS), NUMBERS),
    "one class": lambda: (OneClassSVM().fit(NUMBERS), NUMBERS),
    "neighbours": lambda: (KNeighborsClassifier().fit(NUMBERS, TWO), NUMBERS),
    "k-means": lambda: (KMeans(3, n_init=1).fit(NUMBERS), NUMBERS),
    "PCA": lambda: (PCA(2).fit(NUMBERS), NUMBERS),
    "stacking": lambda: (
        StackingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(3))]).fit(NUMBERS, TWO),
        NUMBERS,
    ),
    "columns of a DataFrame": lambda: (encoded(LogisticRegression()).fit(TABLE, TWO), TABLE),
    "a DataFrame of numbers": lambda: (Ridge().fit(TABLE[NUMERIC], TWO), TABLE[NUMERIC]),
    "columns passed through": lambda: (
        make_pipeline(
            ColumnTransformer(
                [("numbers", "passthrough", [*NUMERIC, "vip"]), ("text", OrdinalEncoder(), TEXT)],
            ),
            RandomForestClassifier(5),
        ).fit(TABLE, TWO),
        TABLE,
    ),
    "stacking of text and numbers": lambda: (
        _texts(StackingRegressor([("a", Ridge()), ("b", RandomForestRegressor(3))])).fit(REVIEWS, TWO),
        REVIEWS,
    ),
    "grid search over columns": lambda: (
        GridSearchCV(encoded(LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=3).fit(TABLE, TWO),
        TABLE,
    ),
    "words of a text": lambda: (_texts(LogisticRegression()).fit(REVIEWS, TWO), REVIEWS),
    "calibrated, with text labels": lambda: (
        CalibratedClassifierCV(GaussianNB(), cv=3).fit(NUMBERS, np.where(TWO, "high", "low")),
        NUMBERS,
    ),
    "forest of several numbers": lambda: (
        RandomForestRegressor(5, max_depth=4).fit(NUMBERS, NUMBERS[:, :3] * 10),
        NUMBERS,
    ),
    "missing values filled in": lambda: (
        make_pipeline(SimpleImputer(), LogisticRegression()).fit(MISSING, TWO),
        MISSING,
    ),
    "naive Bayes": lambda: (GaussianNB().fit(*_shipped("iris")), _shipped("iris")[0][::25]),
    "neural network": lambda: (
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=50)).fit(*_shipped("wine")),
        _shipped("wine")[0][::29],
    ),
    "extra trees": lambda: (
        ExtraTreesRegressor(5, max_depth=5).fit(*_shipped("diabetes")),
        _shipped("diabetes")[0][::70],
    ),
    "quantile": lambda: (QuantileRegressor(quantile=0.9).fit(NUMBERS, NUMBERS[:, 0]), NUMBERS),
    "digits, 64 columns": lambda: (
        make_pipeline(PCA(16), LogisticRegression(max_iter=500)).fit(*_shipped("digits")),
        _shipped("digits")[0][::300],
    ),
}

XGBOOST: dict[str, Fitted] = {
    "XGBoost classifier": lambda: (xgboost.XGBClassifier(**_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "XGBoost, three classes": lambda: (xgboost.XGBClassifier(**_BRIEF).fit(NUMBERS, THREE), NUMBERS),
    "XGBoost of named columns": lambda: (xgboost.XGBRegressor(**_BRIEF).fit(TABLE[NUMERIC], TWO), TABLE[NUMERIC]),
    "XGBoost in a pipeline": lambda: (encoded(xgboost.XGBClassifier(**_BRIEF)).fit(TABLE, TWO), TABLE),
    "XGBoost ranker": lambda: (
        xgboost.XGBRanker(**_BRIEF).fit(NUMBERS, TWO, group=[60, 60]),
        NUMBERS,
    ),
    "XGBoost booster, two classes": lambda: (
        xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(NUMBERS, TWO), 5),
        NUMBERS,
    ),
    "XGBoost booster, three classes": lambda: (
        xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(NUMBERS, THREE), 5),
        NUMBERS,
    ),
    "XGBoost booster, a number": lambda: (
        xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(TABLE[NUMERIC], TWO), 5),
        TABLE[NUMERIC],
    ),
}

LIGHTGBM: dict[str, Fitted] = {
    "LightGBM classifier": lambda: (lightgbm.LGBMClassifier(verbose=-1, **_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "LightGBM regressor": lambda: (lightgbm.LGBMRegressor(verbose=-1, **_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "LightGBM quantile": lambda: (
        lightgbm.LGBMRegressor(objective="quantile", alpha=0.9, verbose=-1, **_BRIEF).fit(NUMBERS, NUMBERS[:, 0]),
        NUMBERS,
    ),
    "LightGBM in a pipeline": lambda: (
        encoded(lightgbm.LGBMClassifier(verbose=-1, **_BRIEF)).fit(TABLE, TWO),
        TABLE,
    ),
    "LightGBM booster, two classes": lambda: (
        lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(NUMBERS, TWO), 5),
        NUMBERS,
    ),
    "LightGBM booster, a number": lambda: (
        lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(NUMBERS, TWO), 5),
        NUMBERS,
    ),
}

CATBOOST: dict[str, Fitted] = {
    "CatBoost classifier": lambda: (cat(catboost.CatBoostClassifier).fit(NUMBERS, TWO), NUMBERS),
    "CatBoost, three classes": lambda: (cat(catboost.CatBoostClassifier).fit(NUMBERS, THREE), NUMBERS),
    "CatBoost regressor": lambda: (cat(catboost.CatBoostRegressor).fit(NUMBERS, NUMBERS[:, 0]), NUMBERS),
    "CatBoost in a pipeline": lambda: (encoded(cat(catboost.CatBoostClassifier)).fit(TABLE, TWO), TABLE),
    "CatBoost regressor in a pipeline": lambda: (
        make_pipeline(StandardScaler(), cat(catboost.CatBoostRegressor)).fit(NUMBERS, TWO),
        NUMBERS,
    ),
}

MODELS: dict[str, Fitted] = {**SKLEARN, **XGBOOST, **LIGHTGBM, **CATBOOST}

"""Cross-session runs -> a tidy table: one row a target, training session and session it was tested on."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.io.crossstore import CrossSessionStore, checked_run
from mesodask.numerics import inference
from mesodask.summary import LEVEL, Column, decoder_name, null_claim, settings_order

CROSS_SESSION = {
    "days": Column("days from the training session to this one", "d"),
    "n_trials": Column("trials decoded", "trials"),
    "accuracy": Column("share of trials decoded right; of the training session itself, cross-validated"),
    "balanced_accuracy": Column("mean of the shares decoded right in the two classes"),
    "auc": Column("area under the ROC curve"),
    "null_mean": Column("mean accuracy over the shuffles of the null"),
    "null_low": Column("lower end of the null's 95 % interval"),
    "null_high": Column("upper end of the null's 95 % interval"),
    "n_shuffles": Column("shuffles that p counts", "shuffles"),
    "p": Column("p-value of the accuracy; missing for the training session itself"),
    "q": Column("p after Benjamini-Hochberg over the rows whose null is valid"),
    "null_kind": Column("kind of null labels", ""),
    "null_valid": Column("whether p can be used at all"),
    "performance": Column("share of rewarded trials among those that can be"),
    "status": Column("done, partial or skipped", ""),
    "reason": Column("why it was skipped", ""),
}


def cross_session_table(run: CrossSessionStore | str | Path) -> pd.DataFrame:
    """Lay a cross-session run out as a tidy table.

    Parameters
    ----------
    run : CrossSessionStore or path-like
        What :func:`mesodask.cross_session` gave, or its path. It may be under way.

    Returns
    -------
    pandas.DataFrame
        Every row names its ``subject, decoder`` (empty for the package's own), ``target, train_session, session``
        (eids), ``train_date`` and ``date``, and goes on with ``CROSS_SESSION``, which has the meaning and the unit
        of every column. Of a run that was trained on the first session alone that is the only training session. What is
        not computed is missing.

    Raises
    ------
    StoreError
        There is no such run, it is one of curves, or a part of it is damaged.

    Examples
    --------
    >>> table = cross_session_table(run)  # doctest: +SKIP
    >>> table.query("p <= 0.05").groupby("target")["days"].max()  # doctest: +SKIP
    """
    store = checked_run(run, CrossSessionStore)
    datasets = store.datasets()
    frames = [_table_of(target, datasets[target]) for target in settings_order(list(datasets))]
    names = ["target", "train_session", "train_date", "session", "date", *(c for c in CROSS_SESSION if c != "q")]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names)
    tested = table["null_valid"].to_numpy(dtype=bool) & table["p"].notna().to_numpy()
    table["q"] = np.nan
    table.loc[tested, "q"] = inference.benjamini_hochberg(table.loc[tested, "p"].to_numpy(dtype=float))
    table.insert(0, "subject", store.attrs.get("subject", ""))
    table.insert(1, "decoder", decoder_name(store.attrs.get("decoder") or ""))
    return table[["subject", "decoder", *names[:5], *CROSS_SESSION]]


def _table_of(target: str, dataset: xr.Dataset) -> pd.DataFrame:
    """Lay one target out, without q."""
    if "train_session" not in dataset.dims:
        pairs = dataset.expand_dims(train_session=dataset["session"].values[:1])
    else:
        pairs = dataset.drop_dims("session").rename(test_session="session")
    eids, dates = dataset["session"].values, dataset["date"].values
    n_train, n_sessions = pairs.sizes["train_session"], pairs.sizes["session"]
    train, test = (index.ravel() for index in np.indices((n_train, n_sessions)))
    days = np.array(dates, dtype="datetime64[D]")
    null = pairs["null_accuracy"].transpose("train_session", "session", "shuffle").values
    low, high = inference.interval(null, level=LEVEL, axis=-1)
    counted = np.isfinite(null).sum(axis=-1)
    mean = np.divide(np.nansum(null, axis=-1), counted, out=np.full(counted.shape, np.nan), where=counted > 0)
    kind = str(dataset.attrs["null_kind"])
    scores = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "auc": "auc", "p": "p_value"}
    by_pair = {"null_mean": mean, "null_low": low, "null_high": high, "n_shuffles": counted} | {
        column: pairs[name].transpose("train_session", "session").values for column, name in scores.items()
    }
    of_session = {name: dataset[name].values[test] for name in ("n_trials", "performance", "status", "reason")}
    named = {"train_session": eids[train], "train_date": dates[train], "session": eids[test], "date": dates[test]}
    return pd.DataFrame(
        {"target": target, **named, "days": (days[test] - days[train]).astype(int), "null_kind": kind}
        | {name: values.ravel() for name, values in by_pair.items()}
        | of_session
        | {"null_valid": null_claim(target, kind)[0]}
    )

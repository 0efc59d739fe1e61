"""The identity of a user's decoder in text: its class, all its parameters and the versions of what it is made of.

Decoders of one identity share their stored scores, so that whatever changes a score must change the text.
"""

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from mesodask.errors import SettingsError

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")


def decoder_identity(decoder: Any) -> str:
    """Describe a classifier or pipeline in canonical text: the same for the same class, parameters and versions.

    Parameters
    ----------
    decoder : object
        With ``get_params``, as scikit-learn's.

    Returns
    -------
    str
        JSON of ``class`` (full name), ``params`` (nested estimators by class and params; arrays as lists; functions
        and classes by full name) and ``versions``: of the top-level package of every class and function. Code without
        a version, such as a class of a notebook, has the hash of its source there (of a class: of its own methods), or
        "unknown" if the source is not to be found.

    Raises
    ------
    SettingsError
        A parameter cannot be told from another by its text: its ``repr`` holds an address, or it is a lambda or
        a function within a function.

    Examples
    --------
    >>> from mesodask.numerics.estimator import BatchedLogisticRegression
    >>> text = decoder_identity(BatchedLogisticRegression(C=0.1))
    >>> json.loads(text)["params"]
    {'C': 0.1}
    """
    versions: dict[str, str] = {}
    described = _estimator(decoder, "decoder", versions)
    return json.dumps({**described, "versions": versions}, sort_keys=True, allow_nan=False)


def _estimator(estimator: Any, where: str, versions: dict[str, str]) -> dict[str, Any]:
    params = {name: _plain(v, f"{where}.{name}", versions) for name, v in estimator.get_params(deep=False).items()}
    return {"class": _full_name(type(estimator), versions), "params": params}


def _plain(value: Any, where: str, versions: dict[str, str]) -> Any:
    """Turn a parameter into what JSON can hold, different values into different ones."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(part, f"{where}[{i}]", versions) for i, part in enumerate(value)]
    if isinstance(value, (Mapping, set, frozenset)):
        return _unordered(value, where, versions)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _estimator(value, where, versions)
    if _is_code(value):
        return {"code": _full_name(value, versions, where)}
    return {"repr": _repr(value, where), "class": _full_name(type(value), versions)}


def _unordered(value: Any, where: str, versions: dict[str, str]) -> dict[str, Any]:
    pairs = value.items() if isinstance(value, Mapping) else ((part, None) for part in value)
    plain = [[_plain(key, where, versions), _plain(v, f"{where}[{key!r}]", versions)] for key, v in pairs]
    return {"items": sorted(plain, key=json.dumps)}


def _is_code(value: Any) -> bool:
    """Tell functions and classes from bound methods and other callables, which have a state."""
    owner = getattr(value, "__self__", None)
    return callable(value) and hasattr(value, "__qualname__") and (owner is None or inspect.ismodule(owner))


def _full_name(code: Any, versions: dict[str, str], where: str = "") -> str:
    module = getattr(code, "__module__", None) or "builtins"
    name = f"{module}.{code.__qualname__}"
    if "<" in name and not isinstance(code, type):  # <lambda>, or <locals>, which may close over anything
        raise SettingsError(
            f"{where} is {name}, whose name does not tell it from others; give a function with a name, defined at the "
            "top of its module"
        )
    package = module.split(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    if version is not None:
        versions[package] = str(version)
    elif package not in sys.stdlib_module_names:
        versions[name] = _source_hash(code)
    return name


def _source_hash(code: Any) -> str:
    """Hash of the source of a function, or of a class's own methods; "unknown" if it is not to be found."""
    # not of the class itself, whose source cannot be found in a notebook
    parts = [part for _, part in sorted(vars(code).items())] if isinstance(code, type) else [code]
    try:
        sources = [inspect.getsource(part) for part in parts if inspect.isfunction(part)]
    except (OSError, TypeError):
        return "unknown"
    return hashlib.blake2b("\0".join(sources).encode("utf-8"), digest_size=8).hexdigest()


def _repr(value: Any, where: str) -> str:
    text = repr(value)
    if _ADDRESS.search(text):
        raise SettingsError(
            f"{where} is {text}, which is another text in every process; scores are stored under the decoder's "
            "parameters: give a plain one (a number, a text, a list, a named function)"
        )
    return text

"""The names that a pickle of arrays and plain containers may ask for, and what each builds here.

NumPy's own constructors are not called with what a file says: their states are checked, and the arrays are views of
the bytes that the file holds. What no pickle of this kind needs is a :class:`~mesodask.errors.DataError`; what is
damaged fails as it does in Python. :mod:`mesodask.io.safe_pickle` names the file.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import numpy as np

from mesodask.errors import DataError

Charge = Callable[[int], None]  # takes bytes from what the pickle may build; raises when there is nothing left

KEY_TYPES = (str, bytes, int, float, NoneType, np.bool_, np.integer, np.floating)
MAX_KEY_LENGTH, MAX_KEY_PARTS = 1000, 8
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,8}|O8?")


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle may ask for.

    Attributes
    ----------
    full : str
        Module and name, for messages.
    call : callable, optional
        What calling it does (instruction REDUCE): arguments, charge -> object.
    new : callable, optional
        What an instance of it becomes (NEWOBJ, then BUILD): attributes -> object.
    """

    full: str
    call: Callable[[tuple, Charge], Any] | None = None
    new: Callable[[dict[str, Any]], Any] | None = None


@dataclass(eq=False)
class Pending:
    """An object that has been asked for and waits for its state (instruction BUILD).

    Attributes
    ----------
    full : str
        Module and name of its class, for messages.
    build : callable
        State -> object.
    memo_keys : list of int
        Where the memo holds it, and shall hold the object.
    """

    full: str
    build: Callable[[Any], Any]
    memo_keys: list[int] = field(default_factory=list)


def describe(value: Any) -> str:
    """Say what a value is without printing it, for messages about files that are not to be trusted.

    Examples
    --------
    >>> describe(np.zeros((2, 3))), describe([1, 2]), describe(None)
    ('an array of float64 of shape (2, 3)', 'list of length 2', 'None')
    """
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, (Name, Pending)):
        return value.full
    if value is None:
        return "None"
    return type(value).__name__ + (f" of length {len(value)}" if isinstance(value, Sized) else "")


def checked_keys(keys: Iterable[Any]) -> list[Any]:
    """Give back keys whose hashing and comparing takes next to no time.

    A tuple hashes its items anew each time, and pairs of numbers can be made to collide at will: only short tuples of
    text are admitted (text hashes with a secret). Long keys take long to compare.

    Raises
    ------
    DataError
        Another type, too long, or too large a number.

    Examples
    --------
    >>> checked_keys(["auc", 5, ("a", "b")])
    ['auc', 5, ('a', 'b')]
    """
    keys = list(keys)
    for key in keys:
        if type(key) is tuple:
            simple = len(key) <= MAX_KEY_PARTS and all(isinstance(part, str) for part in key)
            parts = key
        else:
            simple = isinstance(key, KEY_TYPES) and not (isinstance(key, int) and abs(key) >= 1 << 63)
            parts = (key,)
        if not simple or any(isinstance(part, (str, bytes)) and len(part) > MAX_KEY_LENGTH for part in parts):
            raise DataError(f"has {describe(key)} for a key; expected short text, a number or a tuple of text")
    return keys


def _dtype(args: tuple, _: Charge) -> Pending:
    code, *_flags = args
    if type(code) is not str or not _DTYPE.fullmatch(code):
        shown = repr(code[:40]) if isinstance(code, str) else describe(code)
        raise DataError(f"asks for numpy.dtype({shown}); booleans, numbers, text and objects are admitted")

    def build(state: tuple) -> np.dtype:
        _version, order, subarray, names, fields, size, *_rest = state
        dtype = np.dtype(code)
        plain = subarray is names is fields is None and size in (-1, dtype.itemsize) and len(state) == 8
        if not plain or order not in ("<", ">", "|", "="):
            raise DataError(f"has a numpy.dtype({code!r}) that is no plain one")
        return dtype if order in "|=" else dtype.newbyteorder(order)

    return Pending("numpy.dtype", build)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    # NumPy's own limits are 64 dimensions and the address space; a zero beside a huge number passes neither
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise DataError("has an array whose shape is no tuple of sizes")
    return shape


def _array_of_bytes(data: Any, dtype: Any, shape: Any, order: str, charge: Charge) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, (bytes, bytearray)):
        raise DataError(f"has an array of {describe(dtype)} made from {describe(data)}")
    shape = _checked_shape(shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of {dtype} of shape {shape}")
    charge(len(data))
    if dtype.kind == "U" and np.frombuffer(data, dtype.byteorder + "u4").max(initial=0) > sys.maxunicode:
        raise ValueError("text holds numbers that are no characters")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")
    if dtype.kind == "b":  # other bytes than 0 and 1 are no booleans to rely on
        array = array.view(np.uint8).astype(bool)
    array.flags.writeable = False
    return array


def _array_of_objects(items: Any, shape: Any, order: str, charge: Charge) -> np.ndarray:
    if type(items) is not list or math.prod(_checked_shape(shape)) != len(items):
        raise ValueError(f"{describe(items)} for an array of objects")
    if any(isinstance(item, np.ndarray) and item.dtype == object for item in items):
        # NumPy frees them one within the other, however deep: a long chain ends the process
        raise DataError("has an array of objects directly within another")
    charge(8 * len(items))
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    array = array.reshape(shape, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def _reconstruct(args: tuple, charge: Charge) -> Pending:
    kind, *_empty = args
    if kind is not _NDARRAY:
        raise DataError(f"asks for an array of the class {describe(kind)}")

    def build(state: tuple) -> np.ndarray:
        _version, shape, dtype, fortran, data = state
        order = "F" if fortran else "C"
        if isinstance(dtype, np.dtype) and dtype.hasobject:
            return _array_of_objects(data, shape, order, charge)
        return _array_of_bytes(data, dtype, shape, order, charge)

    return Pending("numpy.ndarray", build)


def _from_buffer(args: tuple, charge: Charge) -> np.ndarray:
    data, dtype, shape, order, *axes = args
    array = _array_of_bytes(data, dtype, shape, order, charge)
    return array.transpose(_checked_shape(axes[0])) if order == "K" and axes and axes[0] is not None else array


def _scalar(args: tuple, charge: Charge) -> Any:
    dtype, data = args
    return _array_of_bytes(data, dtype, (), "C", charge)[()]


def _encode(args: tuple, charge: Charge) -> bytes:
    # how protocols 0 to 2 write bytes: as text, one character a byte
    text, encoding = args
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise DataError("asks for _codecs.encode with another encoding than latin1")
    charge(len(text))
    return text.encode("latin-1")


def _complex(args: tuple, _: Charge) -> complex:
    real, imaginary = args
    if type(real) is not float or type(imaginary) is not float:
        raise DataError(f"has a complex number of {describe(real)} and {describe(imaginary)}")
    return complex(real, imaginary)


def _set_of(kind: type) -> Callable[[tuple, Charge], Any]:
    def build(args: tuple, charge: Charge) -> Any:
        (items,) = args
        if type(items) is not list:
            raise DataError(f"makes a {kind.__name__} of {describe(items)}")
        charge(8 * len(items))
        return kind(checked_keys(items))

    return build


def _empty(kind: type) -> Callable[[tuple, Charge], Any]:
    def build(args: tuple, _: Charge) -> Any:
        if args != ():
            raise DataError(f"makes {kind.__name__} of {len(args)} arguments; expected none")
        return kind()

    return build


_NDARRAY = Name("numpy.ndarray")


def _names() -> dict[tuple[str, str], Name]:
    calls: dict[tuple[str, str], Callable[[tuple, Charge], Any]] = {
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _empty(dict),
    }
    for package in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        calls[f"{package}.multiarray", "_reconstruct"] = _reconstruct
        calls[f"{package}.multiarray", "scalar"] = _scalar
        calls[f"{package}.numeric", "_frombuffer"] = _from_buffer
    for module in ("builtins", "__builtin__"):  # protocols 0 to 2 write the names of Python 2
        calls |= {(module, "set"): _set_of(set), (module, "frozenset"): _set_of(frozenset)}
        calls |= {(module, "complex"): _complex, (module, "bytes"): _empty(bytes)}
    names = {key: Name(".".join(key), call=call) for key, call in calls.items()}
    return {**names, ("numpy", "ndarray"): _NDARRAY}


NAMES = _names()

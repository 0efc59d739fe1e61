"""Pickles of NumPy arrays and plain containers, read without running anything that is in them.

A pickle is a program for a small stack machine. ``pickle.Unpickler`` runs every instruction, and a guarded
``find_class`` bars foreign names but not the rest: extension codes come from a cache that it is not asked about, BUILD
changes the admitted functions themselves, C constructors are fed made-up states, one five-byte memo index allocates
gigabytes, and a key of nested tuples takes years to hash. So the machine is built here anew, of listed parts alone
(``pickletools`` does no more than cut the file into instructions): an instruction, name, state or key that is not
listed is refused, names are compared and never looked up, and no size goes beyond what the size of the file warrants.
"""

import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from mesodask.errors import DataError
from mesodask.io.pickled_names import NAMES, Name, Pending, checked_keys, describe

StandIns = Mapping[tuple[str, str], Callable[[dict[str, Any]], Any]]

MAX_INSTRUCTIONS = 10_000_000  # a number in a list takes one, an array a few dozen
MAX_DEPTH = 32
# bytes that may be built for each byte of the file: a two-byte reference becomes an eight-byte pointer, and text is
# first encoded and then made an array; more comes only from using the same data again and again
BUILT_PER_BYTE = 8
# what the reading of a damaged file raises; Warning is for those who have made warnings errors
DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError, struct.error, Warning)


def load_pickle(path: str | Path, *, stand_ins: StandIns | None = None) -> Any:
    """Read a pickle of NumPy arrays and plain containers; refuse any other.

    Admitted are numbers, text, bytes, None, lists, tuples, dictionaries (ordered ones become plain), sets, NumPy
    scalars, and arrays of booleans, numbers, text or of objects of this list. Keys are text, bytes, numbers, None or
    tuples of text.

    Parameters
    ----------
    path : path-like
        Written by ``pickle.dump`` of Python 3, protocols 0 to 5.
    stand_ins : mapping of (module, name) to callable, optional
        For each class that is admitted besides: what is called, in place of the class, with the dictionary of the
        object's attributes; ``dict`` gives just these. Protocol 2 or newer.

    Returns
    -------
    object
        Nested at most 32 deep, and never within itself; arrays are read-only.

    Raises
    ------
    DataError
        The file asks for another class or function (the message names it), is damaged, truncated, no pickle, or would
        need far more memory than its size. Nothing in it has been run.

    Examples
    --------
    >>> import pickle, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "scores.pkl"
    >>> _ = path.write_bytes(pickle.dumps({"auc": np.array([0.5, 0.9])}))
    >>> load_pickle(path)
    {'auc': array([0.5, 0.9])}
    >>> _ = path.write_bytes(pickle.dumps(print))
    >>> load_pickle(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mesodask.errors.DataError: ...scores.pkl: asks for builtins.print; ...
    """
    return _load(Path(path), stand_ins or {}, npy=False)


def load_pickled_npy(path: str | Path) -> Any:
    """Read the object that ``numpy.save(path, object)`` pickled into an ``.npy`` file.

    Parameters
    ----------
    path : path-like
        The file; see :func:`load_pickle` for what is admitted.

    Returns
    -------
    object
        The object itself if the file's array has no dimensions, else the array of objects.

    Raises
    ------
    DataError
        As :func:`load_pickle`, or the file is no ``.npy`` of pickled objects.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "cache.npy"
    >>> np.save(path, {"isort": np.array([1, 0])}, allow_pickle=True)
    >>> load_pickled_npy(path)
    {'isort': array([1, 0])}
    """
    return _load(Path(path), {}, npy=True)


def _load(path: Path, stand_ins: StandIns, *, npy: bool) -> Any:
    if not path.is_file():
        raise DataError("no such file", path)
    shape = None
    try:
        if not (size := path.stat().st_size):
            raise ValueError("the file is empty")
        with path.open("rb") as file:
            stream = cast(IO[bytes], _Bounded(file, size))
            if npy:
                shape = _npy_shape(stream)
            loaded = _Machine(BUILT_PER_BYTE * size, stand_ins).run(stream)
    except DataError as error:
        raise DataError(
            f"{error}; only NumPy arrays and plain containers are admitted, and nothing in the file was run. "
            "If you trust whoever wrote it, save its arrays anew where it was written",
            path,
        ) from error
    except (OSError, *DAMAGE) as error:
        what = "an .npy file of pickled objects" if npy else "a pickle"
        reason = str(error)[:200] or type(error).__name__
        raise DataError(f"cannot be read as {what} ({reason}); copy the file again", path) from error
    if shape is None:
        return loaded
    if not isinstance(loaded, np.ndarray) or loaded.dtype != object or loaded.shape != shape:
        raise DataError(f"holds {describe(loaded)}; its header says an array of objects of shape {shape}", path)
    return loaded.item() if shape == () else loaded


def _npy_shape(stream: IO[bytes]) -> tuple[int, ...]:
    """Read the header of an .npy file of pickled objects; the stream is then where the pickle begins."""
    readers: dict[tuple[int, int], Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(stream)
        with warnings.catch_warnings(action="error"):  # NumPy mends odd headers, and warns
            shape, _, dtype = readers[version](stream)
    except Exception as error:  # damaged headers raise whatever the tokenizer, the parser and dtype() do
        raise ValueError(f"no header of an .npy file: {error!r}") from error
    if not dtype.hasobject:
        raise ValueError(f"an array of {dtype}, which numpy.load reads without any pickle")
    return shape


class _Bounded:
    """An open file that makes room for no more than its size, whatever length is asked of it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, length: int) -> bytes:
        return self._file.read(min(length, self._size))


class _Machine:
    """The stack, the memo, and what :data:`INSTRUCTIONS` do to them."""

    def __init__(self, budget: int, stand_ins: StandIns) -> None:
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each MARK
        self._memo: dict[int, Any] = {}
        self._budget = budget
        self._stand_ins = {key: Name(".".join(key), new=new) for key, new in stand_ins.items()}
        self._states: list[Any] = []  # what stand-ins were given

    def run(self, stream: IO[bytes]) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAX_INSTRUCTIONS:
                raise DataError(f"has more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name not in INSTRUCTIONS:
                what = "" if argument is None else f" {str(argument)[:80]!a}"
                raise DataError(f"uses the instruction {opcode.name}{what}")
            INSTRUCTIONS[opcode.name](self, argument)
        if stream.read(1):
            raise ValueError("there is more after the end of the pickle")
        if self._below or len(self._stack) != 1:
            raise ValueError("the pickle ends with values left over")
        _check_nesting([*self._stack, *self._states])
        return self._stack.pop()

    def _charge(self, n_bytes: int) -> None:
        self._budget -= n_bytes
        if self._budget < 0:
            raise DataError(f"would take more than {BUILT_PER_BYTE} times the size of the file in memory")

    def skip(self, _: int | None) -> None:
        pass

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def push_tuple(self, size: int) -> None:
        items = [self._stack.pop() for _ in range(size)]
        self._stack.append(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def update(self, items: list[Any]) -> None:
        self._top(dict).update(_paired(items))

    def add(self, items: list[Any]) -> None:
        self._top(set).update(checked_keys(items))

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise DataError(f"puts items into {describe(self._stack[-1])}; expected a {kind.__name__}")
        return self._stack[-1]

    def append_last(self) -> None:
        item = self._stack.pop()
        self.extend([item])

    def set_last(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.update([key, value])

    def remember(self, key: int | None) -> None:
        key = len(self._memo) if key is None else key
        value = self._memo[key] = self._stack[-1]
        if isinstance(value, Pending):
            value.memo_keys.append(key)

    def recall(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def find(self, module: Any, name: Any) -> None:
        # compared as they stand: a dotted name or an alias is just another name
        if type(module) is not str or type(name) is not str:
            raise DataError(f"asks for a name that is {describe(name)} in {describe(module)}")
        found = self._stand_ins.get((module, name)) or NAMES.get((module, name))
        if found is None:
            full = f"{module}.{name}"[:120]
            raise DataError(f"asks for {full if full.isprintable() else ascii(full)}")
        self._stack.append(found)

    def find_on_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self.find(module, name)

    def call(self) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Name) or function.call is None or type(args) is not tuple:
            raise DataError(f"calls {describe(function)} with {describe(args)}")
        self._stack.append(function.call(args, self._charge))

    def new(self) -> None:
        args, kind = self._stack.pop(), self._stack.pop()
        if not isinstance(kind, Name) or kind.new is None or type(args) is not tuple or args:
            raise DataError(f"makes an instance of {describe(kind)} from {describe(args)}")
        stand_in = kind.new

        def build(state: Any) -> Any:
            if type(state) is not dict or not all(type(key) is str for key in state):
                raise DataError(f"gives {kind.full} the state {describe(state)}; expected its attributes")
            self._charge(8 * len(state))
            self._states.append(state)
            return stand_in(state)

        self._stack.append(Pending(kind.full, build))

    def build(self) -> None:
        state, pending = self._stack.pop(), self._stack.pop()
        if not isinstance(pending, Pending):
            raise DataError(f"changes the state of {describe(pending)}")
        built = pending.build(state)
        self._stack.append(built)
        while pending.memo_keys:  # each is looked at once, however often the object is built
            key = pending.memo_keys.pop()
            if self._memo[key] is pending:
                self._memo[key] = built


def _paired(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(checked_keys(items[::2]), items[1::2], strict=True))


def _check_nesting(values: list[Any]) -> None:
    """Refuse what is nested too deep, or within itself; also unfinished objects and names that stand for values."""
    level = values
    for _ in range(MAX_DEPTH):
        for value in level:
            if isinstance(value, (Name, Pending)):
                raise DataError(f"has {describe(value)} for a value")
        # each container once a level: those that share their items would else be counted without end
        containers = {id(value): value for value in level if _is_container(value)}
        level = [item for container in containers.values() for item in _items(container)]
        if not level:
            return
    raise DataError(f"nests containers more than {MAX_DEPTH} deep, or one within itself")


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict)) or (isinstance(value, np.ndarray) and value.dtype == object)


def _items(container: Any) -> Any:
    # keys and sets need no look: they are text and numbers
    if isinstance(container, dict):
        return container.values()
    return container.flat if isinstance(container, np.ndarray) else container


# PROTO and FRAME only help those who read ahead, and STOP is the last
_WITHOUT_EFFECT = ("PROTO", "FRAME", "STOP")
# these push what stands after them in the file
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
# all that are admitted, by their names in pickletools: machine, argument -> None
INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_WITHOUT_EFFECT, _Machine.skip),
    **dict.fromkeys(_VALUES, _Machine.push),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "MARK": lambda m, _: m.mark(),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "DICT": lambda m, _: m.push(_paired(m.pop_mark())),
    "FROZENSET": lambda m, _: m.push(frozenset(checked_keys(m.pop_mark()))),
    "TUPLE1": lambda m, _: m.push_tuple(1),
    "TUPLE2": lambda m, _: m.push_tuple(2),
    "TUPLE3": lambda m, _: m.push_tuple(3),
    "APPEND": lambda m, _: m.append_last(),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_last(),
    "SETITEMS": lambda m, _: m.update(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.add(m.pop_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "GLOBAL": lambda m, names: m.find(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find_on_stack(),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.new(),
    "BUILD": lambda m, _: m.build(),
}

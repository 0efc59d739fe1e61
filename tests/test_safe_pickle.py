"""Pickles of arrays and plain containers are read as Python reads them; all else is refused, and nothing runs."""

import collections
import contextlib
import copyreg
import functools
import operator
import os
import pickle
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mesodask.errors import DataError
from mesodask.io import safe_pickle
from mesodask.io.safe_pickle import load_pickle, load_pickled_npy

SHARED_LIST = ["a", "b"]
HONEST = {
    "float": np.arange(6.0).reshape(2, 3),
    "float32": np.array([0.5, np.nan, -np.inf], dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
    "axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "big-endian": np.array([1.5, 2.5], dtype=">f4"),
    "bool": np.array([[True], [False]]),
    "complex": np.array([1 + 2j], dtype=np.complex64),
    "text": np.array(["VISp", "é", ""]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array([["VISp", None], [1.5, [2, 3]]], dtype=object),
    "no dimension": np.array(7),
    "empty": np.empty((0, 3)),
    "scalars": [np.float64(0.1), np.float32(2), np.int64(-3), np.bool_(True), np.str_("x"), np.bytes_(b"\xff")],
    "numbers": [0, 1, 255, 256, -1, 2**31, 2**70, -(2**70), 0.1, float("inf"), True, False, None, 1j],
    "containers": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {"a": {5: b"\x00\xff"}}, b"", {("a", "b"): 1}],
    "sets": [set(), {1, "x"}, frozenset({2.5})],
    "ordered": collections.OrderedDict(b=1, a=2),
    "shared": [SHARED_LIST, SHARED_LIST],
    "long text": "é" * 70_000,
}


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is (dict if type(expected) is collections.OrderedDict else type(expected))
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if expected.dtype == object:
            for pair in zip(found.flat, expected.flat, strict=True):
                assert_same(*pair)
        else:
            np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        np.testing.assert_equal(found, expected)


def as_numpy_1(data: bytes) -> bytes:
    """The same pickle with the module names of NumPy 1."""
    data = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        old = name.replace(b"_core", b"core")
        data = data.replace(bytes([0x8C, len(name)]) + name, bytes([0x8C, len(old)]) + old)
    if data[2:3] == pickle.FRAME:
        data = data[:3] + struct.pack("<Q", len(data) - 11) + data[11:]
    return data


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", HONEST)
def test_honest_pickles_read_as_python_reads_them(tmp_path: Path, key: str, protocol: int) -> None:
    path = write(tmp_path / "a.pkl", pickle.dumps(HONEST[key], protocol=protocol))
    assert_same(load_pickle(path), HONEST[key])


@pytest.mark.parametrize("protocol", range(2, 6))
def test_names_of_numpy_1(tmp_path: Path, protocol: int) -> None:
    honest = {key: HONEST[key] for key in ("float", "objects", "text", "scalars")}
    data = as_numpy_1(pickle.dumps(honest, protocol=protocol))
    assert b"numpy.core.multiarray" in data
    assert b"numpy._core" not in data
    assert_same(load_pickle(write(tmp_path / "a.pkl", data)), honest)


def test_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", HONEST, allow_pickle=True)  # type: ignore[arg-type]
    assert_same(load_pickled_npy(tmp_path / "a.npy"), HONEST)
    np.save(tmp_path / "b.npy", HONEST["objects"], allow_pickle=True)
    assert_same(load_pickled_npy(tmp_path / "b.npy"), HONEST["objects"])


def test_shared_items_stay_shared_and_arrays_are_read_only(tmp_path: Path) -> None:
    loaded = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(HONEST)))
    assert loaded["shared"][0] is loaded["shared"][1]
    for key in ("float", "objects", "bool", "axes"):
        assert not loaded[key].flags.writeable


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text()
    | st.binary()
    | npst.arrays(
        st.sampled_from(["f4", ">f8", "i2", "u8", "?", "c16", "U3", "S2"]),
        npst.array_shapes(min_dims=0, min_side=0, max_side=3),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_any_plain_value_reads_as_python_reads_it(tmp_path: Path, value: Any, protocol: int) -> None:
    assert_same(load_pickle(write(tmp_path / "a.pkl", pickle.dumps(value, protocol=protocol))), value)


@dataclass
class Result:
    auc: float
    scores: np.ndarray


@pytest.mark.parametrize("protocol", range(2, 6))
def test_stand_ins(tmp_path: Path, protocol: int) -> None:
    result = Result(0.5, np.arange(3.0))
    path = write(tmp_path / "a.pkl", pickle.dumps([result, result], protocol=protocol))
    with pytest.raises(DataError, match=rf"asks for {__name__}\.Result;"):
        load_pickle(path)
    key = (__name__, "Result")
    attributes = load_pickle(path, stand_ins={key: dict})[0]
    assert_same(attributes, {"auc": 0.5, "scores": np.arange(3.0)})
    first, second = load_pickle(path, stand_ins={key: lambda state: Result(**state)})
    assert first is second
    assert_same(vars(first), vars(result))
    with pytest.raises(DataError, match="cannot be read"):
        load_pickle(path, stand_ins={key: lambda state: Result(state["no such attribute"], np.empty(0))})


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple:
        return self._call


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, *args: bytes) -> bytes:
    """Instructions that call a name with arguments (also a dotted name, which pickle looks up part by part)."""
    return text(module) + text(name) + pickle.STACK_GLOBAL + b"(" + b"".join(args) + b"tR"


def program(*parts: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + b"".join(parts) + b"."


def touch(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w')"


def evil_npy(marker: Path) -> Path:
    path = marker.parent / "evil.npy"
    np.save(path, np.array([Call(eval, touch(marker))], dtype=object), allow_pickle=True)
    return path


# what would leave a file behind: name that the message must hold -> pickle
RUNNING: dict[str, Callable[[Path], bytes]] = {
    "posix.system": lambda m: pickle.dumps(Call(os.system, f"touch {m}")),
    "builtins.eval": lambda m: pickle.dumps(Call(eval, touch(m))),
    "builtins.exec": lambda m: pickle.dumps(Call(exec, touch(m))),
    "__builtin__.eval": lambda m: pickle.dumps(Call(eval, touch(m)), protocol=0),
    "io.open": lambda m: pickle.dumps(Call(open, str(m), "w")),
    "builtins.getattr": lambda m: program(
        call("builtins", "getattr", call("pathlib", "Path", text(str(m))), text("touch")), b")R"
    ),
    "subprocess.Popen": lambda m: pickle.dumps(Call(subprocess.Popen, ["touch", str(m)])),
    "importlib.import_module": lambda m: program(
        text("touch"), call("importlib", "import_module", text("os")), b"0", call("os", "system", text(f"touch {m}"))
    ),
    "functools.partial": lambda m: pickle.dumps(Call(functools.partial(os.system, f"touch {m}"))),
    "operator.methodcaller": lambda m: pickle.dumps(Call(operator.methodcaller("touch"), Path(m))),
    "numpy.memmap": lambda m: program(
        call("numpy", "memmap", text(str(m)), text("u1"), text("w+"), b"K\x00", b"K\x01")
    ),
    "numpy.load": lambda m: program(call("numpy", "load", text(str(evil_npy(m))), b"N", b"\x88")),
    "numpy.lib._npyio_impl.load": lambda m: program(
        call("numpy.lib._npyio_impl", "load", text(str(evil_npy(m))), b"N", b"\x88")
    ),
    "numpy.savetxt": lambda m: program(call("numpy", "savetxt", text(str(m)), b"]K\x01a")),
    "numpy.ndarray.tofile": lambda m: program(
        call("numpy", "ndarray.tofile", pickle.dumps(np.arange(2), protocol=2)[2:-1], text(str(m)))
    ),
    "numpy.ndarray.__class__": lambda m: program(
        call("numpy", "ndarray.__class__", text("X"), b")}"), b"0", call("os", "system", text(f"touch {m}"))
    ),
    "INST 'os system'": lambda m: b"(" + text(f"touch {m}") + b"ios\nsystem\n.",
    "os.system": lambda m: b"(cos\nsystem\n" + text(f"touch {m}") + b"o.",
    "pickle.loads": lambda m: pickle.dumps([Call(pickle.loads, pickle.dumps(Call(eval, touch(m))))]),
    "eval": lambda m: pickle.dumps({"roi_signal": np.array([1.0, Call(eval, touch(m))], dtype=object)}),
}


@contextlib.contextmanager
def extension(code: int) -> Iterator[None]:
    """``os.system`` has an extension code, and pickle has used it before: its cache asks no find_class any more."""
    copyreg.add_extension("os", "system", code)
    try:
        yield
    finally:
        copyreg.remove_extension("os", "system", code)


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("npy", [False, True])
def test_hostile_pickles_are_refused_and_do_not_run(tmp_path: Path, name: str, npy: bool) -> None:
    marker = tmp_path / "ran"
    data = RUNNING[name](marker)
    path = write(tmp_path / "a.pkl", (npy_header() if npy else b"") + data)
    with pytest.raises(DataError) as caught:
        (load_pickled_npy if npy else load_pickle)(path)
    assert caught.value.path == path
    assert f"{path}: " in str(caught.value)
    assert name in str(caught.value).removeprefix(f"{path}: ")
    assert not marker.exists()


@pytest.mark.parametrize("name", RUNNING)
def test_hostile_pickles_are_hostile(tmp_path: Path, name: str) -> None:
    """The proof above is one only if the same bytes do leave the file behind where they are run."""
    marker = tmp_path / "ran"
    data = RUNNING[name](marker)
    with contextlib.suppress(Exception):
        loaded = pickle.loads(data)
        if isinstance(loaded, subprocess.Popen):
            loaded.wait()
        elif hasattr(loaded, "close"):
            loaded.close()
    assert marker.exists()


def test_extension_codes(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    data = program(pickle.EXT2 + b"\x34\x12" + b"(" + text(f"touch {marker}") + b"tR")
    with extension(0x1234):
        pickle.loads(data)
        assert marker.exists()
        marker.unlink()
        with pytest.raises(DataError, match="instruction EXT2 '4660'"):
            load_pickle(write(tmp_path / "a.pkl", data))
    assert not marker.exists()


def npy_header(shape: tuple = (), descr: str = "|O") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


DTYPE = b"cnumpy\ndtype\n(%s\x89\x88tR(K\x03%sNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
F8 = DTYPE % (text("f8"), text("<"))
U1 = b"cnumpy\ndtype\n(%s\x89\x88tR(K\x03%sNNNK\x04K\x04K\x08tb" % (text("U1"), text("<"))
BOOL = DTYPE % (text("b1"), text("|"))
OBJECT = DTYPE % (text("O8"), text("|"))
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"


def array(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    return EMPTY_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def integer(value: int) -> bytes:
    return pickle.LONG1 + b"\x10" + value.to_bytes(16, "little", signed=True)


REFUSED = {
    "persistent id": (b"Pevil\n.", "instruction PERSID 'evil'"),
    "binary persistent id": (program(text("evil"), b"Q"), "instruction BINPERSID"),
    "out-of-band buffer": (program(b"\x97"), "instruction NEXT_BUFFER"),
    "text of Python 2": (b"S'abc'\n.", "instruction STRING 'abc'"),
    "state of a function": (
        program(b"cnumpy\ndtype\n}", text("__defaults__"), b"Nsb"),
        "changes the state of numpy.dt",
    ),
    "state of a class": (program(b"cnumpy\nndarray\n}b"), "changes the state of numpy.ndarray"),
    "state of a list": (program(b"]}b"), "changes the state of list"),
    "instance of an admitted class": (program(b"cnumpy\nndarray\n)\x81"), "makes an instance of numpy.ndarray"),
    "call of an admitted class": (program(b"cnumpy\nndarray\n(K\x05tR"), "calls numpy.ndarray"),
    "class for a value": (program(b"]cnumpy\nndarray\na"), "has numpy.ndarray for a value"),
    "unfinished array": (program(b"]", EMPTY_ARRAY, b"a"), "has numpy.ndarray for a value"),
    "subclass of arrays": (
        program(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n"),
        "asks for numpy.matrix",
    ),
    "array of another class": (
        program(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tC\x01btR"),
        "array of the class numpy.dtype",
    ),
    "structured dtype": (program(b"cnumpy\ndtype\n(", text("V12"), b"\x89\x88tR"), r"numpy.dtype\('V12'\)"),
    "dtype of a list": (program(b"cnumpy\ndtype\n(]\x89\x88tR"), r"numpy.dtype\(list of length 0\)"),
    "dtype with fields": (
        program(
            b"cnumpy\ndtype\n(", text("f8"), b"\x89\x88tR(K\x03", text("<"), b"N(", text("a"), b"t}K\x08K\x01K\x00tb"
        ),
        "no plain one",
    ),
    "array made of objects": (program(array(b"(K\x01t", F8, b"]K\x01a")), "made from list"),
    "array made of text": (program(array(b"(K\x01t", F8, text("12345678"))), "made from str"),
    "object scalar": (program(b"cnumpy.core.multiarray\nscalar\n(", OBJECT, b"K\x01tR"), "made from int"),
    "dtype that is none": (program(array(b"(K\x01t", text("O"), b"]K\x01a")), "an array of str of length 1"),
    "shape that is none": (program(array(b"]", F8, b"C\x00")), "no tuple of sizes"),
    "negative shape": (program(array(b"(J\xff\xff\xff\xfft", F8, b"C\x08" + bytes(8))), "no tuple of sizes"),
    "set of text": (program(b"cbuiltins\nset\n(", text("abc"), b"tR"), "makes a set of str"),
    "ordered dictionary of pairs": (program(b"ccollections\nOrderedDict\n(]tR"), "makes dict of 1 arg"),
    "another encoding": (program(b"c_codecs\nencode\n(", text("x"), text("rot13"), b"tR"), "another encoding"),
    "list as a key": (program(b"}]Ns"), "has list of length 0 for a key"),
    "array as a key": (program(b"}", array(b"(K\x00t", F8, b"C\x00"), b"Ns"), "for a key"),
    "complex of text": (program(b"cbuiltins\ncomplex\n(", text("1"), text("2"), b"tR"), "complex number of str"),
    "name that is no text": (program(b"K\x01K\x02\x93"), "asks for a name that is int in int"),
    "items into text": (program(text("abc"), b"(K\x01e"), "puts items into str"),
    "newline in the name": (program(text("os\nsystem"), text("x"), b"\x93"), r"asks for 'os\\nsystem.x'"),
    "array in an array": (
        program(array(b"(K\x01t", OBJECT, b"]" + array(b"(K\x00t", OBJECT, b"]") + b"a")),
        "directly within another",
    ),
    "list within itself": (program(b"]q\x00h\x00a"), "within itself"),
    "dictionary within itself": (program(b"}q\x00", text("a"), b"]h\x00as"), "within itself"),
    "code": (program(b"ctypes\nCodeType\n"), "asks for types.CodeType"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_honest_pickle_holds_is_refused(tmp_path: Path, case: str) -> None:
    data, message = REFUSED[case]
    path = write(tmp_path / "a.pkl", data)
    with pytest.raises(DataError, match=message) as caught:
        load_pickle(path)
    assert caught.value.path == path
    assert "nothing in the file was run" in str(caught.value)


def test_admitted_functions_are_left_as_they_were(tmp_path: Path) -> None:
    for case in ("state of a function", "state of a class"):
        with pytest.raises(DataError):
            load_pickle(write(tmp_path / "a.pkl", REFUSED[case][0]))
    path = write(tmp_path / "a.pkl", pickle.dumps(HONEST["float"]))
    assert_same(load_pickle(path), HONEST["float"])


DEEP = 100_000
LONG_BYTES = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"q\x00"
LONG_TEXT = text("x" * (1 << 20)) + b"q\x00"
BOMBS = {
    "long bytes": program(b"\x8e" + struct.pack("<Q", 10**12) + b"short"),
    "long text": program(b"\x8d" + struct.pack("<Q", 10**12) + b"short"),
    "long byte array": program(b"\x96" + struct.pack("<Q", 10**12) + b"short"),
    "beyond the address space": program(b"\x8e" + b"\xff" * 8 + b"short"),
    "long number": program(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"short"),
    "number with many digits": b"L" + b"9" * 100_000 + b"L\n.",
    "long frame": program(b"\x95" + struct.pack("<Q", 2**62)),
    "memo index": program(b"N" + b"r\xff\xff\xff\xff" + b"0"),
    "memo index in digits": b"Np" + b"9" * 4000 + b"\nh\x00.",
    "array larger than its data": program(array(b"(" + integer(10**12) + b"t", F8, b"C\x08" + bytes(8))),
    "huge array of objects": program(array(b"(" + integer(10**12) + b"t", OBJECT, b"]")),
    "no data for a huge shape": program(array(b"(K\x00" + integer(10**30) + b"t", F8, b"C\x00")),
    "no data for many dimensions": program(array(b"(K\x00" + integer(2**47) * 20 + b"t", F8, b"C\x00")),
    "huge items": program(array(b"(K\x01t", F8.replace(text("f8"), text("U999999999999")), b"C\x08" + bytes(8))),
    "huge text items": program(array(b"(K\x01t", U1.replace(text("U1"), text("U999999999")), b"C\x08" + bytes(8))),
    "deep lists": program(b"]" * DEEP + b"a" * (DEEP - 1)),
    "deep tuples": program(b")" + b"\x85" * DEEP),
    "deep marks": program(b"(" * DEEP + b"t" * DEEP),
    "key that takes ages to hash": program(b"}", b")" + b"q\x00h\x00\x86" * 60, b"Ns"),
    "deep key": program(b"}", b")" + b"\x85" * DEEP, b"Ns"),
    "number as a key": program(b"}" + pickle.LONG1 + b"\x09" + bytes(8) + b"\x01" + b"Ns"),
    "long key": program(b"}", text("x" * 2000), b"Ns"),
    "the same text encoded often": program(b"]", LONG_TEXT, b"a" + b"c_codecs\nencode\n(h\x00\x8c\x06latin1tRa" * 20),
    "the same bytes in many arrays": program(
        b"]" + LONG_BYTES + b"a" + (array(b"(J" + struct.pack("<i", 1 << 17) + b"t", F8, b"h\x00") + b"a") * 20
    ),
    "the same list in many sets": program(
        b"]](" + b"K\x01" * 100_000 + b"eq\x00a" + b"cbuiltins\nset\n(h\x00tRa" * 1000,
    ),
    "the same list in many arrays": program(
        b"]](" + b"N" * 100_000 + b"eq\x00a" + (array(b"(J\xa0\x86\x01\x00t", OBJECT, b"h\x00") + b"a") * 1000,
    ),
    "chain of lists and arrays": program(
        (EMPTY_ARRAY + b"(K\x01(K\x01t" + OBJECT + b"\x89]]") * 2000 + b"N" + b"aatb" * 2000
    ),
    "characters beyond Unicode": program(array(b"(K\x01t", U1, b"C\x04\xff\xff\xff\xff")),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_take_neither_memory_nor_time(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "a.pkl", BOMBS[case])
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(DataError) as caught:
            load_pickle(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.path == path
    assert len(str(caught.value)) < len(str(path)) + 600
    assert peak < 200 * path.stat().st_size + 1_000_000
    assert time.monotonic() - start < 20


def test_booleans_are_zero_or_one(tmp_path: Path) -> None:
    """Other bytes would be True by themselves, and count for more than one in a sum."""
    loaded = load_pickle(write(tmp_path / "a.pkl", program(array(b"(K\x03t", BOOL, b"C\x03\x00\x01\x02"))))
    assert loaded.view(np.uint8).tolist() == [0, 1, 1]


def test_number_of_instructions_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.pkl", pickle.dumps(list(range(1000)), protocol=4))
    assert load_pickle(path) == list(range(1000))
    monkeypatch.setattr(safe_pickle, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(DataError, match="more than 1000 instructions"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x80\x04", "exhausted"),
        # the first where warnings are errors
        (b"S'\\d'\n.", "cannot be read as a pickle|uses the instruction STRING"),
        (b"hello\nworld\n", "cannot be read as a pickle"),
        (pickle.dumps([1]) + b"x", "more after the end"),
        (b"K\x01K\x02.", "left over"),
        (b"(K\x01.", "left over"),
        (b"t.", "cannot be read"),
        (b"h\x05.", "cannot be read"),
        (b"a.", "cannot be read"),
        (b"R.", "cannot be read"),
        (program(array(b"(K\x02t", F8, b"C\x08" + bytes(8))), r"8 bytes for an array of float64 of shape \(2,\)"),
        (program(b"}(K\x01u"), "cannot be read"),
    ],
)
def test_damaged_pickles(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "a.pkl", data)
    with pytest.raises(DataError, match=message) as caught:
        load_pickle(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x93NUMPY\x01", "no header"),
        (b"\x93NUMPY\x09\x00", "no header"),
        (pickle.dumps([1]), "magic string"),
        (npy_header(descr="<f8") + bytes(8), "an array of float64, which numpy.load reads"),
        (npy_header((3,)) + pickle.dumps(np.array([1, None])), r"shape \(2,\); its header says .* \(3,\)"),
        (npy_header() + pickle.dumps([1, 2]), "holds list of length 2"),
        (npy_header() + pickle.dumps(np.array(1.0)), "an array of float64"),
        (npy_header().replace(b"()", b"(3L,)") + pickle.dumps([1]), "no header"),
        (npy_header().replace(b"'shape'", b"'''hape'"), "no header"),
        (npy_header().replace(b"'|O'", b"'<M\\d'"), "no header"),
    ],
)
def test_damaged_npy_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "a.npy", data)
    with pytest.raises(DataError, match=message) as caught:
        load_pickled_npy(path)
    assert caught.value.path == path


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "nothing.pkl", tmp_path / "pipe"):
        with pytest.raises(DataError, match="no such file"):
            load_pickle(path)


SMALL = {key: value for key, value in HONEST.items() if key != "long text"}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An honest pickle with some of its bytes changed, cut off or doubled."""
    data = bytearray(pickle.dumps(SMALL, protocol=draw(st.integers(0, 5))))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255) | st.sampled_from(b"abcdehjlopqrstu()]}\x81\x85\x86\x87\x93\x94R"))
    if draw(st.booleans()):
        start, length = draw(st.integers(0, len(data))), draw(st.integers(0, 200))
        data[start : start + length] = data[start : start + length] * draw(st.sampled_from([0, 2]))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


INSTRUCTION = st.sampled_from(
    [bytes([code]) for code in b"().]}\x8f0tlde2au\x90\x91sb\x81R\x93\x94\x85\x86\x87N\x88"]
    + [b"K\x01", b"q\x00", b"h\x00", b"h\x01", b"h\x02", text("f8"), text("numpy"), b"C\x08" + bytes(8)]
    + [F8, OBJECT, EMPTY_ARRAY, b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cbuiltins\nset\n"]
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged() | st.lists(INSTRUCTION, max_size=30).map(lambda parts: b"".join(parts) + b"."))
def test_damage_ends_in_data_error_alone(tmp_path: Path, data: bytes) -> None:
    with contextlib.suppress(DataError):
        load_pickle(write(tmp_path / "a.pkl", data))

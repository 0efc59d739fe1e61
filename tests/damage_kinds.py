"""Ways to damage a file or a folder: those of any, those of arrays, tables, lines of text and JSON.

A case's files are hard links to a template. Whoever damages one therefore puts another one in its place, and never
writes into it.
"""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from iblutil.io import parquet

SUFFIXES = {".npy": "npy", ".pqt": "table", ".csv": "lines", ".tsv": "lines", ".json": "json", "": "chunk"}
Rng = np.random.Generator
Kind = Callable[[Path, Rng], list[Path]]
"""Damages a path; gives all paths that are no longer what they were."""

# putting something in the place of a file -------------------------------------------------------------------------


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def put(path: Path, content: bytes) -> list[Path]:
    path.unlink()
    path.write_bytes(content)
    return [path]


def like(path: Path, rng: Rng) -> Path | None:
    """Draw another file or folder of the same name, or of the same kind where there is none, near this one."""
    root = next((p for p in path.parents if p.name in ("one", "chronic_csv", "data", "decoding")), path.parent)
    near = [p for p in sorted(root.rglob(path.name)) if p != path and not p.is_relative_to(path)]
    near = [p for p in near if not path.is_relative_to(p) and p.is_dir() == path.is_dir()]
    beside = [p for p in sorted(path.parent.iterdir()) if p != path and p.is_dir() == path.is_dir()]
    candidates = near or [p for p in beside if p.suffix == path.suffix]
    return candidates[rng.integers(len(candidates))] if candidates else None


# of any file ------------------------------------------------------------------------------------------------------


def delete(path: Path, rng: Rng) -> list[Path]:
    remove(path)
    return [path]


def empty(path: Path, rng: Rng) -> list[Path]:
    if not path.is_dir():
        return put(path, b"")
    shutil.rmtree(path)
    path.mkdir()
    return [path]


def truncate(path: Path, rng: Rng) -> list[Path]:
    content = path.read_bytes()
    keep = int(rng.integers(len(content))) if rng.random() < 0.5 else max(0, len(content) - int(rng.integers(1, 9)))
    return put(path, content[:keep])


def lengthen(path: Path, rng: Rng) -> list[Path]:
    return put(path, path.read_bytes() + rng.bytes(int(rng.integers(1, 64))))


def flip(path: Path, rng: Rng) -> list[Path]:
    """One bit, near the start in half of the cases; sometimes the file keeps its time, as on a bad disk."""
    content = bytearray(path.read_bytes())
    if content:
        end = min(len(content), 256) if rng.random() < 0.5 else len(content)
        content[int(rng.integers(end))] ^= 1 << int(rng.integers(8))
    keeps_time, stat = rng.random() < 0.3, path.stat()
    put(path, bytes(content))
    if keeps_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return [path]


def zeros(path: Path, rng: Rng) -> list[Path]:
    """A stretch of it, as a sector that was never written."""
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content) + 1))
    stop = min(len(content), start + int(rng.integers(1, 4097)))
    content[start:stop] = bytes(stop - start)
    return put(path, bytes(content))


def noise(path: Path, rng: Rng) -> list[Path]:
    return put(path, rng.bytes(path.stat().st_size))


def words(path: Path, rng: Rng) -> list[Path]:
    return put(path, b"<html><body>503 Service Unavailable</body></html>\n")


def becomes_folder(path: Path, rng: Rng) -> list[Path]:
    path.unlink()
    path.mkdir()
    return [path]


def becomes_file(path: Path, rng: Rng) -> list[Path]:
    shutil.rmtree(path)
    path.write_bytes(b"x")
    return [path]


def dangles(path: Path, rng: Rng) -> list[Path]:
    remove(path)
    path.symlink_to(path.with_name("nowhere"))
    return [path]


def loops(path: Path, rng: Rng) -> list[Path]:
    remove(path)
    path.symlink_to(path.name)
    return [path]


def rename(path: Path, rng: Rng) -> list[Path]:
    numbered = path.name.startswith("FOV_") and path.is_dir()
    name = "FOV_07" if numbered else [f"{path.name}.bak", path.name.swapcase(), f"_{path.name}"][rng.integers(3)]
    path.rename(path.with_name(name))
    return [path, path.with_name(name)]


def duplicate(path: Path, rng: Rng) -> list[Path]:
    """Beside it: as a further field of view, session, task or chunk, or as the copy that a file manager makes."""
    further = {"FOV_00": "FOV_02", "FOV_01": "FOV_02", "001": "002", "task_00": "task_01", "0": "9"}
    target = path.with_name(further.get(path.name, f"{path.stem} (copy){path.suffix}"))
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copy2(path, target)
    return [target]


def swap(path: Path, rng: Rng) -> list[Path]:
    other = like(path, rng)
    if other is None:
        return []
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)
    return [path, other]


def another(path: Path, rng: Rng) -> list[Path]:
    """A copy of another one in its place."""
    other = like(path, rng)
    if other is None:
        return []
    remove(path)
    if other.is_dir():
        shutil.copytree(other, path)
    else:
        shutil.copy2(other, path)
    return [path, other]


# of arrays, tables, text and metadata -------------------------------------------------------------------------------


def _rewritten(change: Callable[[np.ndarray, Rng], np.ndarray]) -> Kind:
    def apply(path: Path, rng: Rng) -> list[Path]:
        stream = io.BytesIO()
        np.save(stream, change(np.load(path), rng), allow_pickle=True)
        return put(path, stream.getvalue())

    return apply


def _some(array: np.ndarray, rng: Rng) -> tuple:
    n = int(rng.integers(1, 4)) if rng.random() < 0.6 else max(1, len(array) // 3)
    return (rng.choice(len(array), min(n, len(array)), replace=False), *([0] * (array.ndim - 1)))


def _with(value: float) -> Callable[[np.ndarray, Rng], np.ndarray]:
    def change(array: np.ndarray, rng: Rng) -> np.ndarray:
        wide = array.astype(np.result_type(array, np.float32) if not np.isfinite(value) else array.dtype)
        with np.errstate(all="ignore"):
            wide[_some(array, rng)] = np.array(value).astype(wide.dtype)
        return wide

    return change


def _another_dtype(array: np.ndarray, rng: Rng) -> np.ndarray:
    choices = [
        np.float16,
        np.float32,
        np.float64,
        np.int32,
        np.uint8,
        np.int64,
        complex,
        bool,
        ">f8",
        ">i4",
        "U8",
        object,
    ]
    with np.errstate(all="ignore"):
        return array.astype(choices[rng.integers(len(choices))])


def _shorter(array: np.ndarray, rng: Rng) -> np.ndarray:
    return array[: -int(rng.integers(1, 4))] if rng.random() < 0.7 else array[:0]


NPY: dict[str, Kind] = {
    "nan": _rewritten(_with(np.nan)),
    "infinite": _rewritten(_with(np.inf)),
    "negative": _rewritten(_with(-7)),
    "huge": _rewritten(_with(1e30)),
    "dtype": _rewritten(_another_dtype),
    "shorter": _rewritten(_shorter),
    "longer": _rewritten(lambda a, rng: np.concatenate([a, a[-int(rng.integers(1, 4)) :]])),
    "doubled": _rewritten(lambda a, _: np.concatenate([a, a])),
    "transposed": _rewritten(lambda a, _: np.ascontiguousarray(a.T) if a.ndim > 1 else a[:, None]),
    "scalar": _rewritten(lambda a, _: np.array(a.flat[0])),
    "permuted": _rewritten(lambda a, rng: rng.permutation(a)),
    "repeated": _rewritten(lambda a, rng: a[np.sort(rng.integers(len(a), size=len(a)))]),
}


def _retabled(change: Callable[[pd.DataFrame, Rng], pd.DataFrame]) -> Kind:
    def apply(path: Path, rng: Rng) -> list[Path]:
        found, about = parquet.load(path)  # ONE's tables say more than pandas keeps
        changed = change(found, rng)
        path.unlink()
        parquet.save(path, changed, about)
        return [path]

    return apply


def _column(table: pd.DataFrame, rng: Rng) -> str:
    return str(table.columns[rng.integers(len(table.columns))])


def _numbers(value: float) -> Callable[[pd.DataFrame, Rng], pd.DataFrame]:
    def change(table: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        numbers = table.select_dtypes("number")
        if not len(numbers.columns):
            return table
        name = _column(numbers, rng)
        column = numbers[name].to_numpy(dtype=float, copy=True)
        column[rng.choice(len(column), min(len(column), int(rng.integers(1, 5))), replace=False)] = value
        return table.assign(**{name: column})

    return change


def _question_mark(table: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    name = _column(table, rng)
    column = table[name].astype(str).to_numpy(dtype=object, copy=True)
    column[rng.integers(len(column))] = "?"
    return table.assign(**{name: column})


def _permuted_names(table: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    return table.set_axis(rng.permutation(table.columns), axis=1)


def _as_pandas_writes(path: Path, rng: Rng) -> list[Path]:
    """Without what ONE notes in its tables."""
    stream = io.BytesIO()
    pd.read_parquet(path).to_parquet(stream)
    return put(path, stream.getvalue())


TABLE: dict[str, Kind] = {
    "as pandas writes": _as_pandas_writes,
    "nan": _retabled(_numbers(np.nan)),
    "infinite": _retabled(_numbers(np.inf)),
    "text": _retabled(_question_mark),
    "column dropped": _retabled(lambda t, rng: t.drop(columns=_column(t, rng))),
    "column all nan": _retabled(lambda t, rng: t.assign(**{_column(t, rng): np.nan})),
    "column of text": _retabled(lambda t, rng: t.assign(**{(n := _column(t, rng)): t[n].astype(str)})),
    "columns permuted": _retabled(_permuted_names),
    "row dropped": _retabled(lambda t, rng: t.drop(t.index[rng.integers(len(t))])),
    "row doubled": _retabled(lambda t, rng: t.iloc[np.sort(np.append(np.arange(len(t)), rng.integers(len(t))))]),
    "no rows": _retabled(lambda t, _: t.iloc[:0]),
    "permuted": _retabled(lambda t, rng: t.iloc[rng.permutation(len(t))]),
    "index lost": _retabled(lambda t, _: t.reset_index(drop=True)),
}  # fmt: skip


def _lines(change: Callable[[list[str], Rng], list[str]]) -> Kind:
    def apply(path: Path, rng: Rng) -> list[Path]:
        return put(path, ("\n".join(change(path.read_text().splitlines(), rng)) + "\n").encode())

    return apply


def _one_line(new: Callable[[list[str], int, Rng], list[str]]) -> Kind:
    def change(lines: list[str], rng: Rng) -> list[str]:
        if not lines:
            return lines
        i = int(rng.integers(len(lines)))
        return [*lines[:i], *new(lines, i, rng), *lines[i + 1 :]]

    return _lines(change)


LINES: dict[str, Kind] = {
    "line dropped": _one_line(lambda *_: []),
    "line doubled": _one_line(lambda lines, i, *_: [lines[i]] * 2),
    "line of another": _one_line(lambda lines, _, rng: [lines[rng.integers(len(lines))]]),
    "line blank": _one_line(lambda *_: [""]),
    "line of nan": _one_line(lambda *_: ["nan"]),
    "line of words": _one_line(lambda *_: ["x,y"]),
    "all blank": _lines(lambda lines, _: [""] * len(lines)),
    "permuted": _lines(lambda lines, rng: rng.permutation(lines).tolist()),
    "shouted": _lines(lambda lines, _: [line.upper() for line in lines]),
    "of windows": lambda path, _: put(path, b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")),
    "in utf-16": lambda path, _: put(path, path.read_text().encode("utf-16")),
}


def _leaves(node: object, where: tuple = ()) -> list[tuple]:
    """Where the values of a JSON text are."""
    if isinstance(node, (dict, list)) and node:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return [place for key, value in items for place in [(*where, key), *_leaves(value, (*where, key))]]
    return []


def _json(change: Callable[[object, Rng], object]) -> Kind:
    def apply(path: Path, rng: Rng) -> list[Path]:
        found = json.loads(path.read_text())
        places = _leaves(found)
        *parents, last = places[rng.integers(len(places))]
        node = found
        for key in parents:
            node = node[key]
        new = change(node[last], rng)
        if new is ...:
            del node[last]
        else:
            node[last] = new
        return put(path, json.dumps(found, indent=2).encode())

    return apply


JSON: dict[str, Kind] = {
    "value dropped": _json(lambda *_: ...),
    "value null": _json(lambda *_: None),
    "value of text": _json(lambda *_: "x"),
    "value a list": _json(lambda value, _: [value, value]),
    "value another": _json(
        lambda value, _: value + 1 if isinstance(value, (int, float)) else f"{value}x" if isinstance(value, str) else {}
    ),
    "no object": lambda path, _: put(path, b"[1, 2]"),
}
ANY: dict[str, Kind] = {
    "delete": delete, "rename": rename, "duplicate": duplicate, "swap": swap, "another": another, "empty": empty,
    "dangles": dangles, "loops": loops,
}  # fmt: skip
FILE: dict[str, Kind] = {
    "truncate": truncate, "lengthen": lengthen, "flip": flip, "zeros": zeros, "noise": noise, "words": words,
    "becomes folder": becomes_folder,
}  # fmt: skip
FOLDER: dict[str, Kind] = {"becomes file": becomes_file}
OF_SUFFIX: dict[str, dict[str, Kind]] = {"npy": NPY, "table": TABLE, "lines": LINES, "json": JSON, "chunk": {}}


def kinds_of(path: Path) -> dict[str, Kind]:
    """Kinds of damage that a file or folder may suffer, by name."""
    if path.is_dir():
        return ANY | FOLDER
    return ANY | FILE | OF_SUFFIX.get(SUFFIXES.get(path.suffix, "chunk"), {})

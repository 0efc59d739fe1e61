"""The way imports run: one direction, that of the README's map, and heavy things only where they are used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mesodask"

README = PACKAGE.parent / "README.md"
IN_THE_MAP = re.compile(r"^  (\w+)(?:\.py|/) ", re.MULTILINE)  # a room's name, at the beginning of its line
# the map in the README names the rooms from the lowest to the highest; one may import those above it in the map
ROOMS = IN_THE_MAP.findall(README.read_text(encoding="utf-8").split("\nmesodask/\n")[1].split("\n```\n")[0])
RANK = {name: place for place, name in enumerate([*ROOMS, "__main__"])}
ONLY_IN = {
    "one": {"io/alf.py"},
    "brainbox": {"io/behavior.py"},
    "iblatlas": {"io/regions.py"},
    "dask_jobqueue": {"compute/jobqueue.py"},
    "rastermap": {"numerics/order.py"},
    "requests": {"io/web.py"},
}
NOT_IN_NUMERICS = {"dask", "distributed", "xarray", "zarr", "pandas", "one", "matplotlib"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function, but not for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        node.lineno
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in block.body
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node.lineno not in skipped:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif node.module == "mesodask":
                found |= {f"mesodask.{alias.name}" for alias in node.names}
            elif node.module:
                found.add(node.module)
    return found


def room(name: str) -> str:
    """``mesodask.io.alf`` and ``io/alf.py`` are both in the room io."""
    return name.removeprefix("mesodask.").removesuffix(".py").replace("/", ".").split(".")[0]


def test_the_map_names_every_room_once_and_no_other() -> None:
    assert sorted(ROOMS) == sorted({room(relative(path)) for path in modules()} - {"__init__", "__main__"})


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    here = room(relative(path))
    if here == "__init__":
        return
    assert here in RANK, f"{relative(path)} has no place yet: give its room a line in the README's map"
    for name in imported(path):
        if not name.startswith("mesodask."):
            continue
        there = room(name)
        if there == "__version__":
            continue
        assert there == here or RANK[there] < RANK[here], (
            f"{relative(path)} imports {name}, which is not above it in the README's map: hand the thing over as an "
            f"argument, or move what both need into a room above both"
        )
        assert not (here == "io" and there == "numerics"), f"{relative(path)} imports {name}: io knows no numerics"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_heavy_packages_stay_in_their_rooms(path: Path) -> None:
    for name in imported(path):
        top = name.split(".")[0]
        allowed = ONLY_IN.get(top)
        assert allowed is None or relative(path) in allowed, (
            f"{relative(path)} imports {name}; only {', '.join(sorted(allowed))} may: call what is there"
        )
        if relative(path).startswith("numerics/"):
            assert top not in NOT_IN_NUMERICS, f"{relative(path)} imports {name}: numerics takes and gives arrays"
            assert not name.startswith("mesodask.") or room(name) in ("errors", "numerics"), (
                f"{relative(path)} imports {name}: numerics knows nothing of mesodask but its errors"
            )


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_mesodask_is_light() -> None:
    loaded = loaded_after("import mesodask; dir(mesodask)")
    heavy = {"numpy", "xarray", "dask", "one", "matplotlib", "sklearn", "numba"} & loaded
    assert not heavy, f"import mesodask loads {heavy}: import them where they are used"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("mesodask.figures", {"one", "dask", "distributed", "iblatlas"}),
        ("mesodask.numerics.crossval", {"dask", "xarray", "zarr", "pandas", "one", "matplotlib"}),
        ("mesodask.compute.runner", {"one", "matplotlib", "sklearn", "rastermap"}),
        ("mesodask.cli", {"distributed", "matplotlib", "sklearn", "numba"}),
        ("mesodask.figures.tracking", {"one", "dask", "distributed", "iblatlas"}),
        ("mesodask.figures.report", {"one", "dask", "distributed", "iblatlas", "bokeh"}),
        ("mesodask.session_choice", {"one", "dask", "distributed", "iblatlas", "matplotlib"}),
        ("mesodask.ndc", {"matplotlib", "rastermap", "distributed"}),
        ("mesodask.workflow", {"one", "dask", "xarray", "zarr", "pandas", "matplotlib", "sklearn", "numba"}),
    ],
)
def test_rooms_do_not_drag_in_what_they_must_not_know(module: str, forbidden: set[str]) -> None:
    dragged = forbidden & loaded_after(f"import {module}")
    assert not dragged, f"import {module} loads {dragged}, perhaps through others: import them where they are used"


def test_every_public_name_is_there() -> None:
    import mesodask

    for name in mesodask.__all__:
        assert callable(getattr(mesodask, name))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mesodask.no_such_name


def test_import_leaves_no_trace(tmp_path: Path) -> None:
    """No folder, client or figure appears, and nothing is printed."""
    statement = f"import os; os.chdir({str(tmp_path)!r}); import mesodask, mesodask.ndc, mesodask.figures, mesodask.cli"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []

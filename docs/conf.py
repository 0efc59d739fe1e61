"""How the documentation is built: ``sphinx-build -W docs site``.

The home page is the README; the reference is read from the docstrings, a page for each public module and one for the
names that ``import mesodask`` gives.
"""

import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mesodask
import mesodask.schema
import mesodask.summary

project = "mesodask"
author = "The mesodask developers"
release = version = mesodask.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links of the README to files that are no pages here
    "ref.python",  # a word in a shape, such as n_trials, is also the name of some attribute
]
# what a docstring refers to by role must be there; words of types and shapes are no references
nitpicky = True
nitpick_ignore_regex = [
    ("py:(class|obj|attr)", r"(?!mesodask\.).*"),
    ("py:class", r".*\.(_\w+|Child|Task|Tool|Result)"),
]
napoleon_google_docstring = False
napoleon_use_param = False  # types of arguments are words here ("array (n_trials, n_neurons)"), no links
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "ignore-module-all": True,  # what a module passes on is documented where it comes from
    "exclude-members": "set_fit_request, set_score_request",  # scikit-learn adds them to every estimator
}
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"mesodask {release}"
html_theme_options = {"source_view_link": "", "navigation_with_keys": True}
exclude_patterns = ["site"]

HERE = Path(__file__).parent

NAMES = """# What `mesodask` gives

Each of these is imported from `mesodask` itself.

```{eval-rst}
.. currentmodule:: mesodask

"""
MODULES = """# Modules

Every public module, by name; the map on the home page tells the way of the data.

```{toctree}
"""
STORED = """# What is stored

Every variable of every store, as `mesodask/schema.py` declares it. Stores are Zarr format 3, and open in xarray without
mesodask: `xarray.open_dataset(path, engine="zarr", group=group, consolidated=False)`.

```{eval-rst}
"""
END = "```\n"


def _names() -> str:
    """Document the public names, in the order of the package's map."""
    entries = []
    for name in mesodask._HOME_OF:
        kind = "autoclass" if isinstance(getattr(mesodask, name), type) else "autofunction"
        entries.append(f".. {kind}:: {name}\n")
    return NAMES + "\n".join(entries) + END


def _stored() -> str:
    """Draw a table of each schema, and of what a summary holds."""
    lines = []
    for name, declared in vars(mesodask.schema).items():
        if name.isupper() and isinstance(declared, Mapping):
            rows = [
                (f"``{key}``", ", ".join(one.dims), one.dtype, one.unit, one.meaning + " (optional)" * one.optional)
                for key, one in declared.items()
            ]
            lines += _table(f"mesodask.schema.{name}", ("variable", "dims", "dtype", "unit", "meaning"), rows)
    for name in ("CURVES", "SESSIONS", "TARGET_NOTES"):
        rows = [(f"``{key}``", one.unit, one.meaning) for key, one in getattr(mesodask.summary, name).items()]
        lines += _table(f"mesodask.summary.{name}", ("variable", "unit", "meaning"), rows)
    return STORED + "\n".join(lines) + END


def _table(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Draw a table under the name of what it shows, so that docstrings can refer to it."""
    title = name.removeprefix("mesodask.").replace(".", ": ").capitalize().replace("_", " ")
    lines = [title, "-" * len(title), "", f".. py:data:: {name}", "   :no-contents-entry:", "", ".. list-table::"]
    lines += ["   :header-rows: 1", ""]
    lines += ["   * - " + "\n     - ".join(row) for row in (header, *rows)]
    return [*lines, ""]


def _modules() -> dict[str, str]:
    """Make a page for each public module, and the list of them."""
    found = pkgutil.walk_packages(mesodask.__path__, "mesodask.")
    names = sorted(m.name for m in found if "._" not in m.name and not m.name.startswith("mesodask.cli"))
    titles = [name.removeprefix("mesodask.") for name in names]
    pages = {
        title: f"# {title}\n\n```{{eval-rst}}\n.. automodule:: {name}\n{END}"
        for title, name in zip(titles, names, strict=True)
    }
    return {"index": MODULES + "\n".join(titles) + "\n" + END, **pages}


def _write_reference() -> None:
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    pages = {"names": _names(), "stored": _stored(), **_modules()}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    for page in folder.glob("*.md"):
        if page.stem not in pages:  # of a module that is no more
            page.unlink()


_write_reference()

"""Compiled code: a process that compiles it, and one that loads it from numba's cache, compute the same bits.

A jitted function that another one calls exists twice, alone and within its caller, optimised differently; which of them
a process runs depends on what it compiled itself. Inlined by force it exists once.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

NUMERICS = Path(__file__).resolve().parents[1] / "mesodask" / "numerics"
FIT = """
import hashlib
import numpy as np
from mesodask.numerics.crossval import cross_val_scores
rng = np.random.default_rng(0)
digest = hashlib.blake2b(digest_size=8)
for n_trials, k in ((60, 5), (90, 40), (80, 70), (64, 120)):
    X, Y = rng.normal(size=(n_trials, k)).astype(np.float32), rng.integers(0, 2, (n_trials, 101))
    from mesodask.numerics.logistic import fit_logistic
    digest.update(fit_logistic(X, Y.T == 1).solution.tobytes())
    digest.update(cross_val_scores(X, Y).tobytes())
print(digest.hexdigest())
"""


def is_jitted(function: ast.FunctionDef) -> bool:
    return any("njit" in ast.dump(decorator) for decorator in function.decorator_list)


def is_inlined(function: ast.FunctionDef) -> bool:
    keywords = [k for d in function.decorator_list if isinstance(d, ast.Call) for k in d.keywords]
    return any(k.arg == "forceinline" and isinstance(k.value, ast.Constant) and k.value.value for k in keywords)


def test_what_jitted_functions_call_is_inlined() -> None:
    trees = [ast.parse(path.read_text()) for path in sorted(NUMERICS.glob("*.py"))]
    jitted = {f.name: f for tree in trees for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and is_jitted(f)}
    assert len(jitted) > 15
    called = {
        node.func.id
        for function in jitted.values()
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in jitted
    }
    assert len(called) > 10
    lacking = sorted(name for name in called if not is_inlined(jitted[name]))
    assert not lacking, f"called by compiled code, but not inlined: {lacking}; give them forceinline=True"


def test_compiled_and_loaded_code_give_the_same_bits(tmp_path: Path) -> None:
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    compiled, loaded = (
        subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True, env=env).stdout
        for _ in range(2)
    )
    assert any(tmp_path.rglob("conjugate.minimise*"))
    assert compiled == loaded

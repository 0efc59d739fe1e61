"""Keyed random streams: every draw is seeded by what it is for, never by when it happens.

A key such as ``(seed, "neurons", r)`` is hashed with blake2b and the words of the digest become the entropy of a
:class:`numpy.random.SeedSequence`. Streams of different keys are independent, and a stream does not depend on the
order of the work, on the number of workers or on what was computed before a crash.
"""

import hashlib

import numpy as np

Key = int | str


def seed_sequence(*key: Key) -> np.random.SeedSequence:
    """Turn a key into a seed sequence.

    Parameters
    ----------
    *key : int or str
        What the draw is for, from the general to the particular, e.g. ``seed, "folds", eid, target, resample``.

    Returns
    -------
    numpy.random.SeedSequence
        With the eight 32-bit words of the key's blake2b digest as entropy. Integers and strings of the same text
        differ (``1`` and ``"1"``), and so do ``("a", "bc")`` and ``("ab", "c")``.

    Examples
    --------
    >>> one, again = seed_sequence(0, "neurons", 3), seed_sequence(0, "neurons", 3)
    >>> one.entropy == again.entropy
    True
    >>> seed_sequence("a", "bc").entropy == seed_sequence("ab", "c").entropy
    False
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in key:
        if isinstance(part, bool) or not isinstance(part, (int, np.integer, str)):
            raise TypeError(f"a key is made of integers and strings, not {type(part).__name__} ({part!r})")
        kind, text = ("s", part) if isinstance(part, str) else ("i", str(int(part)))
        payload = text.encode("utf-8")
        digest.update(f"{kind}{len(payload)}:".encode())
        digest.update(payload)
    return np.random.SeedSequence(np.frombuffer(digest.digest(), dtype="<u4").tolist())


def generator(*key: Key) -> np.random.Generator:
    """Make the random generator of a key (see :func:`seed_sequence`).

    Examples
    --------
    >>> bool(generator(0, "neurons", 3).random() == generator(0, "neurons", 3).random())
    True
    """
    return np.random.Generator(np.random.PCG64(seed_sequence(*key)))


def integer_seed(*key: Key) -> int:
    """Turn a key into one integer in [0, 2**32), for code that takes an integer seed (scikit-learn).

    Examples
    --------
    >>> 0 <= integer_seed(0, "folds", "eid", "choice", 1) < 2**32
    True
    """
    return int(seed_sequence(*key).generate_state(1, dtype=np.uint32)[0])

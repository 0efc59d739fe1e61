"""One BLAS thread while scores are computed."""

import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any


class OneBlasThread(AbstractContextManager):
    """Limits the process's BLAS to one thread while any thread of the process is inside.

    The bits of a matrix product depend on the number of threads that share it. The limit belongs to the whole process,
    so the first to enter sets it, and only the last to leave lifts it again.

    Examples
    --------
    >>> with ONE_BLAS_THREAD:
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._blas: Any = None
        self._limit: Any = None

    def __enter__(self) -> "OneBlasThread":
        with self._lock:
            if self._inside == 0:
                if self._blas is None:
                    # finding the loaded libraries costs 6 ms, a limit 20 us; before 3.8 threadpoolctl could hang for
                    # ever there, if another thread was just importing a compiled module
                    from threadpoolctl import ThreadpoolController

                    self._blas = ThreadpoolController()
                self._take_control()
                self._limit = self._blas.limit(limits=1, user_api="blas")
            self._inside += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._take_control()
                self._limit.restore_original_limits()

    def _take_control(self) -> None:
        # threadpoolctl obeys one thread of the process alone, whichever came first
        for library in self._blas.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


ONE_BLAS_THREAD = OneBlasThread()

"""Reading from a web server: basic authentication, back-off, whole bodies, and no way out of a tree of folders.

A redirect is followed only within the tree and never to another server, so that credentials reach no one but the
server they are meant for. No credential is part of any message.
"""

import itertools
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_netrc_auth

import mesodask
from mesodask.errors import AccessError, MesodaskError, SettingsError
from mesodask.io.web_addresses import Place, child_names

USER_VARIABLE = "MESODASK_MIRROR_USER"
PASSWORD_VARIABLE = "MESODASK_MIRROR_PASSWORD"
REDIRECTS = {301, 302, 303, 307, 308}
MAX_REDIRECTS = 5
LONGEST_WAIT = 60.0  # s; also where a server asks for more
PIECE = 1 << 16  # bytes


class FetchError(MesodaskError):
    """Something cannot be read from the server; the message is the reason, without the address."""

    exit_status = 1


class TransientError(FetchError):
    """A failure that may pass; ``wait`` is how long the server asks to be left alone, in s."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Credentials:
    """User name and password, and where they come from.

    Attributes
    ----------
    source : str
        In words, for messages.
    auth : requests.auth.AuthBase or None
        What puts them on a request; not shown.
    """

    source: str
    auth: AuthBase | None = field(repr=False)


def find_credentials(place: Place, given: tuple[str, str] | None = None) -> Credentials:
    """Look for the credentials of a server: those given, else the environment's, else netrc's.

    Parameters
    ----------
    place : Place
        Anything on the server.
    given : (user, password), optional
        Taken if given.

    Raises
    ------
    SettingsError
        Only one of the two environment variables is set.
    """
    if given is not None:
        return Credentials("those that were given", _basic(*given))
    user, password = os.environ.get(USER_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    if (user is None) != (password is None):
        there, missing = (USER_VARIABLE, PASSWORD_VARIABLE)[:: 1 if password is None else -1]
        raise SettingsError(f"{there} is set, but {missing} is not; set both or none")
    if user is not None and password is not None:
        return Credentials(f"those of {USER_VARIABLE}", _basic(user, password))
    found = get_netrc_auth(place.url())
    if found is not None:
        return Credentials("those of the netrc file", _basic(*found))
    return Credentials("", None)


def _basic(user: str, password: str) -> HTTPBasicAuth:
    # as bytes: text would be sent as latin-1, and a password that has no such form would end up in the error
    return HTTPBasicAuth(user.encode(), password.encode())


@dataclass(frozen=True)
class Reply:
    """What a server has answered, after redirects within the tree.

    Attributes
    ----------
    url : str
        Where the answer came from.
    status : int
        HTTP status.
    headers : mapping
        Header fields; names in any case.
    body : bytes
        Whole; empty unless the status is 200.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def length(self) -> int | None:
        """Bytes of the body as the server tells it, or None; also None for a compressed one."""
        if self.headers.get("Content-Encoding", "identity") != "identity":
            return None
        return _told_length(self.headers)

    @property
    def modified(self) -> float | None:
        """When the file was last changed, as the server tells it (s since 1970), or None."""
        return _timestamp(self.headers.get("Last-Modified", ""))

    @property
    def is_html(self) -> bool:
        """Whether the server calls the body a web page."""
        return "html" in self.headers.get("Content-Type", "").lower()

    def child_names(self) -> set[str]:
        """Names on the index page of a folder (see :func:`mesodask.io.web_addresses.child_names`).

        Raises
        ------
        FetchError
            It is another page.
        """
        try:
            return child_names(self.url, self.body)
        except ValueError as error:
            raise FetchError(str(error)) from error


class _Session(requests.Session):
    """A session that leaves redirects to its caller, and so does not read their bodies, however long they are."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is followed by itself."""
        del resp


class Reader:
    """One thread's connection to a server.

    Parameters
    ----------
    tree : Place
        The folder that redirects must not leave.
    credentials : Credentials
        See :func:`find_credentials`.
    retries : int
        How often a failure that may pass (5xx, 429, no answer, a body cut short) is tried again.
    timeout : (float, float)
        Longest wait for a connection and for the next bytes, in s.
    backoff : float
        Wait before the first retry, in s; each further one waits twice as long, up to ``LONGEST_WAIT``, and never
        less than the server's ``Retry-After`` up to the same.
    stop : threading.Event
        Ends waits and reading, with a :class:`FetchError`.
    """

    def __init__(
        self,
        tree: Place,
        credentials: Credentials,
        *,
        retries: int,
        timeout: tuple[float, float],
        backoff: float,
        stop: threading.Event,
    ) -> None:
        self.tree = tree
        self._credentials = credentials
        self._retries = retries
        self._timeout = timeout
        self._backoff = backoff
        self._stop = stop
        self._session = _Session()
        self._session.auth = credentials.auth
        self._session.headers["User-Agent"] = f"mesodask/{mesodask.__version__}"
        # plain bytes, so that Content-Length is the length of the file
        self._session.headers["Accept-Encoding"] = "identity"

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def read(self, place: Place, *, limit: int, folder: bool = False) -> Reply:
        """Read a file, or the page of a folder, into memory.

        Parameters
        ----------
        place : Place
            Within the tree.
        limit : int
            Most bytes that a body may have.
        folder : bool
            Whether it is a folder, whose address ends in a slash.

        Returns
        -------
        Reply
            Its status is 200 (the body is whole then) or one that will not pass, such as 404.

        Raises
        ------
        AccessError
            The server answers 401 or 403.
        FetchError
            A redirect that is not followed, a body over the limit, or a failure that did not pass.
        """
        return self._patiently("GET", place, folder, limit)

    def ask(self, place: Place) -> Reply:
        """Ask for a file's header fields alone; raises as :meth:`read` does."""
        return self._patiently("HEAD", place, folder=False, limit=0)

    def _patiently(self, method: str, place: Place, folder: bool, limit: int) -> Reply:
        for attempt in itertools.count():
            if self._stop.is_set():
                break
            try:
                return self._once(method, place.url(folder=folder), limit)
            except TransientError as error:
                if attempt >= self._retries:
                    raise FetchError(f"{error} (tries: {attempt + 1})") from error
                wait = max(self._backoff * 2**attempt, error.wait)
            if self._stop.wait(min(wait, LONGEST_WAIT)):
                break
        raise FetchError("stopped")

    def _once(self, method: str, url: str, limit: int) -> Reply:
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._session.request(method, url, stream=True, timeout=self._timeout) as response:
                    if response.status_code in REDIRECTS:
                        url = self._redirected(url, response.headers.get("Location", ""))
                        continue
                    self._check_status(response, url)
                    whole = method == "GET" and response.status_code == 200
                    body = self._body(response, limit) if whole else b""
                    return Reply(url, response.status_code, response.headers, body)
            except requests.RequestException as error:
                raise self._in_words(error) from error
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    def _redirected(self, url: str, location: str) -> str:
        """Give the address a redirect leads to, if it stays in the tree."""
        try:
            absolute = urljoin(url, location)
            target = Place.of(absolute)
        except ValueError as error:
            raise FetchError("a redirect to an address that is not followed (malformed, or a way out)") from error
        if self.tree.holds(target):
            return target.url(folder=urlsplit(absolute).path.endswith("/"))
        if target.server == self.tree.server:
            raise FetchError(f"a redirect out of {self.tree.url(folder=True)}, to {target.url()}")
        same_host = target.host == self.tree.host
        if same_host and (self.tree.scheme, target.scheme) == ("https", "http"):
            raise FetchError("a redirect from https to http, which would send the password in the clear")
        if same_host and (self.tree.scheme, target.scheme) == ("http", "https"):
            raise FetchError(f"a redirect to https; give the url as {target.server}/...")
        raise FetchError(f"a redirect to another server, {target.server}")

    def _check_status(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        if status in (401, 403):
            raise self._refused(status, url)
        if status in (408, 429) or (status >= 500 and status != 501):
            raise TransientError(f"the server answers {status}", _retry_after(response.headers.get("Retry-After", "")))

    def _refused(self, status: int, url: str) -> AccessError:
        source = self._credentials.source
        found = f"the credentials sent were {source}" if source else "no credentials were found"
        meaning = {
            401: "it wants a user name and a password",
            403: "it forbids this, or shows no pages of folders",
        }[status]
        return AccessError(
            f"{url}: the server answers {status} ({meaning}); {found}. They are taken from {USER_VARIABLE} and "
            f"{PASSWORD_VARIABLE} in the environment, else from the entry for {self.tree.host} in ~/.netrc, else asked "
            "for on a terminal; never from an argument or the url",
            status,
        )

    def _body(self, response: requests.Response, limit: int) -> bytes:
        told = None if "Transfer-Encoding" in response.headers else _told_length(response.headers)
        if told is not None and told > limit:
            raise FetchError(f"the body has {told} bytes; at most {limit} are taken")
        pieces: list[bytes] = []
        size = 0
        try:
            for piece in response.iter_content(PIECE):
                size += len(piece)
                if size > limit:
                    raise FetchError(f"the body has more than {limit} bytes, which is the most that is taken")
                if self._stop.is_set():
                    raise FetchError("stopped")
                pieces.append(piece)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise TransientError(_cut_short(response.raw.tell(), told)) from error
        if told is not None and response.raw.tell() != told:  # urllib3 before 2 does not look
            raise TransientError(_cut_short(response.raw.tell(), told))
        return b"".join(pieces)

    def _in_words(self, error: requests.RequestException) -> FetchError:
        """Say what went wrong without the library's text, which is long and may quote anything."""
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return TransientError(f"no connection within {self._timeout[0]:g} s")
        if isinstance(error, requests.Timeout) or "ReadTimeoutError" in {type(a).__name__ for a in error.args}:
            return TransientError(f"no answer within {self._timeout[1]:g} s")
        words = _innermost(error) or type(error).__name__
        if isinstance(error, requests.exceptions.SSLError):
            return FetchError(f"no secure connection: {words}")
        if isinstance(error, requests.ConnectionError):
            return TransientError(f"the connection failed: {words}")
        return FetchError(f"the request failed: {words}")


def _cut_short(size: int, told: int | None) -> str:
    return f"the body is cut short after {size} bytes" + ("" if told is None else f" of {told}")


def _innermost(error: BaseException | None) -> str:
    """Words of the operating system's error that a request failed of, or ""."""
    words = ""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            words = error.strerror
        error = error.__cause__ or error.__context__
    return words


def _told_length(headers: Mapping[str, str]) -> int | None:
    told = headers.get("Content-Length", "").strip()
    return int(told) if told.isascii() and told.isdigit() else None


def _timestamp(text: str) -> float | None:
    """Read an HTTP date; None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _retry_after(text: str) -> float:
    """Seconds that a ``Retry-After`` field asks for, as a number or as a date; 0 if it is neither.

    Examples
    --------
    >>> _retry_after("7"), _retry_after("soon"), _retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    (7.0, 0.0, 0.0)
    """
    if text.isascii() and text.strip().isdigit():
        return float(text)
    until = _timestamp(text)
    return 0.0 if until is None else max(0.0, until - time.time())

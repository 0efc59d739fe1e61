"""Addresses on a web server that can be compared, and the names on a folder's index page."""

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Place:
    """Where something is on a web server, in a form that can be compared.

    Attributes
    ----------
    scheme, host : str
        Lower case.
    port : int
        The scheme's own where the address names none.
    names : tuple of str
        The parts of the path, decoded; none of them is empty, "." or "..", or could be taken for several parts.

    Examples
    --------
    >>> place = Place.of("https://lab.example/data/FOV%5F00/")
    >>> place.names
    ('data', 'FOV_00')
    >>> (place / "a b").url()
    'https://lab.example/data/FOV_00/a%20b'
    >>> Place.of("https://lab.example/data") == Place.of("HTTPS://LAB.example:443//data/")
    True
    """

    scheme: str
    host: str
    port: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, url: str) -> "Place":
        """Read an address.

        Raises
        ------
        ValueError
            It is no plain http or https address: it has a user name, a query, or a path that climbs.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its words quote the address, which may hold a password
            raise ValueError("is malformed") from None
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("is no address such as https://lab.example/data")
        if "@" in parts.netloc:
            raise ValueError("holds a user name or a password")
        if parts.query:
            raise ValueError("has a query (?...)")
        names = tuple(unquote(part) for part in parts.path.split("/") if part)
        for name in names:
            if name in (".", "..") or any(c in "/\\%" or not c.isprintable() for c in name):
                raise ValueError(f"has a path that may lead elsewhere ({quote(name)})")
        return cls(parts.scheme, parts.hostname, port or PORTS[parts.scheme], names)

    def __truediv__(self, name: str) -> "Place":
        return Place(self.scheme, self.host, self.port, (*self.names, name))

    @property
    def server(self) -> str:
        """Scheme, host and port, the latter where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    def url(self, *, folder: bool = False) -> str:
        """Give the address as text, with a slash at its end for a folder."""
        path = "/".join(quote(name, safe="") for name in self.names)
        return f"{self.server}/{path}" + ("/" if folder and path else "")

    def holds(self, other: "Place") -> bool:
        """Tell whether another place is this one or lies below it."""
        return self.server == other.server and self.names == other.names[: len(self.names)]


class _Links(HTMLParser):
    """Collects where the ``<a>`` of a page lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of a link; tags and attributes arrive in lower case."""
        if tag == "a":
            self.targets += [value.strip() for name, value in attrs if name == "href" and value]


def child_names(url: str, page: bytes) -> set[str]:
    """List what an index page says is in its folder.

    Links are resolved against the page's address; those with a query (columns to sort by), to the folder itself or its
    parent, to other servers and out of the folder are not followed, however they are written. What counts is the
    decoded name alone, never the link.

    Parameters
    ----------
    url : str
        Address of the folder, with the slash at its end.
    page : bytes
        Its page.

    Returns
    -------
    set of str
        Names of files and folders.

    Raises
    ------
    ValueError
        Nothing on the page leads into the folder or to its parent: it is another page in place of the index.

    Examples
    --------
    >>> links = '<A HREF="?C=N">Name</A> <a href="../">Up</a> <a href="FOV%5F00/">x</a> <a href="//y.z/y">y</a>'
    >>> child_names("https://lab.example/alf/", links.encode())
    {'FOV_00'}
    """
    links = _Links()
    try:
        links.feed(page.decode("utf-8", errors="replace"))
        links.close()
    except AssertionError as error:  # what the parser has for some malformed declarations
        raise ValueError("the page is malformed") from error
    here = Place.of(url)
    names: set[str] = set()
    is_index = False
    for target in links.targets:
        try:
            place = Place.of(urljoin(url, target))
        except ValueError:
            continue
        if here.holds(place) and len(place.names) == len(here.names) + 1:
            names.add(place.names[-1])
        is_index |= place.server == here.server and place.names == here.names[:-1]
    if not names and not is_index:
        raise ValueError("a page in place of the folder's index: no link on it leads into the folder or to its parent")
    return names

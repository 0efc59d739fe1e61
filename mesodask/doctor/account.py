"""The user's account at an Alyx server as ONE keeps it, read without ONE, which would ask questions and log in."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mesodask.errors import DataError

LoginState = Literal["accepted", "refused", "unclear", "offline"]


@dataclass(frozen=True)
class Account:
    """What ONE has stored of its default server.

    Attributes
    ----------
    url : str
        Address of the Alyx server.
    user : str
        Login name; empty if none is stored.
    cache_dir : pathlib.Path
        Where files of this server are kept.
    token : str
        What stands for the password; empty if nobody has logged in. It is not shown.
    """

    url: str
    user: str
    cache_dir: Path
    token: str = field(default="", repr=False)


def default_account() -> Account | None:
    """Read what ``ONE.setup()`` has stored for the default server; None if it was never called.

    Raises
    ------
    DataError
        A file of ONE's parameters is damaged, or does not hold what it should.
    """
    from iblutil.io.params import getfile

    caches = Path(getfile("one/caches"))
    known = _read(caches)
    key = known.get("DEFAULT")
    if not key:
        return None
    path = Path(getfile(f"one/{key}"))
    parameters = _read(path)
    try:
        folder, url = known["CLIENT_MAP"][key], parameters["ALYX_URL"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"ONE's parameters are incomplete ({error} is missing); run one.api.ONE.setup()", path
        ) from None
    user = str(parameters.get("ALYX_LOGIN") or "")
    token = (parameters.get("TOKEN") or {}).get(user) or {}
    return Account(str(url).rstrip("/"), user, Path(folder), str(token.get("token") or ""))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"ONE's parameters cannot be read ({error}); remove the file and run one.api.ONE.setup()",
                        path) from None  # fmt: skip
    if not isinstance(content, dict):
        raise DataError("ONE's parameters are no table; remove the file and run one.api.ONE.setup()", path)
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the server that it is for, and to no other."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """Follow none."""


def login_state(account: Account, timeout: float) -> tuple[LoginState, str]:
    """Ask the server whether it takes the stored login; nothing is prompted for, stored or renewed.

    Parameters
    ----------
    account : Account
        See :func:`default_account`.
    timeout : float
        How long the server may take to answer, s. Looking up its name may take longer.

    Returns
    -------
    state : {"accepted", "refused", "unclear", "offline"}
        ``unclear`` is an answer that says neither.
    answer : str
        What came back, or why nothing did.
    """
    request = urllib.request.Request(f"{account.url}/users/{urllib.parse.quote(account.user, safe='')}")
    request.add_header("Accept", "application/json")
    if account.token:
        request.add_header("Authorization", f"Token {account.token}")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as reply:
            return ("accepted" if reply.status == 200 else "unclear"), f"HTTP {reply.status}"
    except urllib.error.HTTPError as error:
        with error:
            return ("refused" if error.code in (401, 403) else "unclear"), f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return "offline", str(error.reason)
    except (OSError, ValueError) as error:  # cut off in the middle; an address that is none
        return "offline", str(error)

"""The client of a cluster's job server: limits on every wait, and errors that say what to do."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cluster.connect import TOKEN_PLACES, has_token, use_token
from cluster.environment import LOOPBACK, keep_proxies_off_loopback
from cluster.errors import ClusterError
from cluster.uri import without_password, without_secrets, without_words

ANSWER_S = 60  # an upload over a slow line
CONNECT_S = 5


def default_address() -> str:
    """The job server's address: RAY_API_SERVER_ADDRESS, or this machine's."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"


def shows_token(address: str) -> bool:
    """Whether this user's token would cross a network unencrypted, where others can read and use it."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return parts.scheme == "http" and has_token() and not _is_this_machine(parts.hostname or "")


def connect(address: str) -> Any:
    """Ray's client, with a limit on every wait; within `plain_errors`."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, *args: Any, **kwargs: Any) -> Any:
            return super()._do_request(*args, timeout=(CONNECT_S, ANSWER_S), **kwargs)

    for part in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{part}").setLevel(logging.ERROR)  # else each reports the upload
    address = address if "://" in address else f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ClusterError(
            f"job server address {without_password(address)!r} is not http://host:port, such as http://127.0.0.1:8265"
        )
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # else Ray lets RAY_ADDRESS win over the address it is given
    return Client(address)


@contextmanager
def plain_errors(address: str, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Send the user's token, to this machine without a proxy, and turn the errors of Ray's client into a sentence.

    No sentence has a password of the address, or one of the secrets, such as those that a job's environment gets.
    """
    shown = without_password(address)
    use_token()
    keep_proxies_off_loopback()
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import exceptions

    try:
        yield
    except AuthenticationError:
        raise ClusterError(
            f"the job server at {shown} refused the token, or there is none: "
            f"it expects the token of its head node, looked for in {TOKEN_PLACES}"
        ) from None
    except (exceptions.JSONDecodeError, exceptions.HTTPError, KeyError):
        raise ClusterError(f"what answers at {shown} is not a Ray job server: its port is 8265 by default") from None
    except (ConnectionError, exceptions.RequestException, ClientError):
        raise ClusterError(
            f"no job server answers at {shown}: start the cluster, or set RAY_API_SERVER_ADDRESS or --address"
        ) from None
    except UnicodeEncodeError:
        raise ClusterError(f"the user or the password of {shown} has signs that HTTP can't send") from None
    except RuntimeError as error:
        said = without_secrets(str(error), address)
        for secret in secrets:
            said = without_words(without_secrets(said, secret), [secret])
        raise ClusterError(f"the job server at {shown} could not do it: {said}") from None


def _is_this_machine(host: str) -> bool:
    """Whether a name or an address is one of this machine's own; only those can be listened on."""
    if host in (*LOOPBACK, "::1"):
        return True
    try:
        with socket.create_server((host, 0)):
            return True
    except OSError:
        return False

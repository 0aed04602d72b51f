"""The CAs that may vouch for a server, read once: later this process may have no right to read them."""

import ssl
from functools import cache
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from abctl.errors import SourceNotFound


@cache
def load_trusted(path: Path) -> ssl.SSLContext:
    """Return what checks servers by the CAs in ``path``, or by those that requests brings if it is missing.

    Raise SourceNotFound where no certificates can be read from it.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    try:
        context.load_verify_locations(path if path.is_file() else DEFAULT_CA_BUNDLE_PATH)
    except OSError as error:  # as ssl.SSLError is
        raise SourceNotFound(f"{path} gives no certificates of CAs ({error.strerror}): check it") from error
    return context


class TrustingAdapter(HTTPAdapter):
    """Connections over TLS that know their CAs already, whatever the environment says of others."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **others: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **others)

    def proxy_manager_for(self, proxy: str, **others: Any) -> Any:
        if proxy.startswith("https:"):
            others["proxy_ssl_context"] = self._context
        return super().proxy_manager_for(proxy, ssl_context=self._context, **others)

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:
        conn.cert_reqs = "CERT_REQUIRED"

    def build_connection_pool_key_attributes(
        self, request: Any, verify: object, cert: Any = None
    ) -> tuple[Any, Any]:
        return super().build_connection_pool_key_attributes(request, True, cert)

"""Requests that are signed, as IAM asks of callers."""

import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signed_status(url: str, credentials: Credentials | None, service: str, ca_bundle: Path | None) -> int:
    """How a request that is signed with these is answered."""
    request = AWSRequest("GET", url)
    if credentials:
        SigV4Auth(credentials, service, "us-east-1").add_auth(request)
    context = ssl.create_default_context(cafile=ca_bundle)
    try:
        with urlopen(Request(url, headers=dict(request.headers)), context=context, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code

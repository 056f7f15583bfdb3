"""The cloud that a command talks to: the local one, or AWS."""

import http.client
import os
import ssl
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
import botocore.session
from botocore.config import Config

from runtime_lib.contract import LAMBDA_MAX_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

LOCAL_REGION = "us-east-1"
LOCAL_ACCOUNT = "000000000000"
_LOCAL_KEY = "test"
_PATIENT = "lambda, patient"
_CONNECTIONS = 50
"""Connections a client keeps: as many threads can use it at once."""


class Cloud:
    """The services of one cloud; `client` is the way to them.

    ``url`` is the local cloud's, and ``ca_bundle`` the certificate to trust there. Without ``url`` it is AWS, with the
    credentials, profile and region that the AWS command line would use.
    """

    def __init__(self, *, url: str | None = None, ca_bundle: Path | None = None) -> None:
        self.url = url
        self.ca_bundle = ca_bundle
        # boto3 knows AWS_DEFAULT_REGION alone; the AWS command line takes AWS_REGION before it.
        region = os.environ.get("AWS_REGION") or None
        self._session = boto3.Session(region_name=region) if url is None else _local_session()
        self._clients: dict[str, Any] = {}
        self._making_client = Lock()

    @property
    def is_local(self) -> bool:
        """Whether this is a local cloud, and not AWS."""
        return self.url is not None

    @property
    def region(self) -> str | None:
        """The region of the clients; None when AWS is meant and no region is configured."""
        return self._session.region_name

    @property
    def credentials(self) -> "Credentials | None":
        """What requests are signed with; None when AWS is meant and none are configured."""
        return self._session.get_credentials()

    def use_in_this_process(self) -> None:
        """Let boto3's defaults lead to this cloud from now on, as they do inside its functions."""
        if self.url is None:
            if self.region:
                os.environ["AWS_DEFAULT_REGION"] = self.region
            return
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
            os.environ.pop(name, None)
        os.environ |= {
            "AWS_ACCESS_KEY_ID": _LOCAL_KEY,
            "AWS_SECRET_ACCESS_KEY": _LOCAL_KEY,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_DEFAULT_REGION": LOCAL_REGION,
            "AWS_REGION": LOCAL_REGION,
            "AWS_ENDPOINT_URL": self.url,
            "NO_PROXY": "127.0.0.1",
        }
        if self.ca_bundle:
            os.environ["AWS_CA_BUNDLE"] = str(self.ca_bundle)

    def __str__(self) -> str:
        return f"the local cloud at {self.url}" if self.is_local else f"AWS in {self.region or 'no region'}"

    @overload
    def client(self, service: Literal["cloudformation"]) -> "CloudFormationClient": ...
    @overload
    def client(self, service: Literal["lambda"]) -> "LambdaClient": ...
    @overload
    def client(self, service: Literal["logs"]) -> "CloudWatchLogsClient": ...
    @overload
    def client(self, service: Literal["s3"]) -> "S3Client": ...
    @overload
    def client(self, service: Literal["sqs"]) -> "SQSClient": ...
    @overload
    def client(self, service: Literal["ssm"]) -> "SSMClient": ...
    @overload
    def client(self, service: str) -> Any: ...

    def client(self, service: str) -> Any:
        """The boto3 client of a service, made at its first use; threads may share it."""
        with self._making_client:
            if service not in self._clients:
                self._clients[service] = self._session.client(service, **self._client_options())  # type: ignore[call-overload]
            return self._clients[service]

    def patient_lambda_client(self) -> "LambdaClient":
        """A client that waits for a function as long as one can run, and never invokes it twice."""
        options = self._client_options()
        patient = Config(read_timeout=LAMBDA_MAX_TIMEOUT_SECONDS + 10, retries={"total_max_attempts": 1})
        config = options.pop("config", Config()).merge(patient)
        with self._making_client:
            if _PATIENT not in self._clients:
                self._clients[_PATIENT] = self._session.client("lambda", config=config, **options)
            client: LambdaClient = self._clients[_PATIENT]
            return client

    def read(self, path: str, *, timeout: float = 10) -> bytes:
        """What the local cloud answers to a GET of ``path`` that is no AWS API: ``/_ministack/ses/messages``.

        Raises:
            OSError: it cannot be reached within ``timeout`` seconds.
            http.client.HTTPException: it answered anything but 200.
        """
        connection = self.connection(timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"GET {path}: {response.status} {content.decode(errors='replace')}")
        return content

    def connection(self, *, timeout: float) -> http.client.HTTPConnection:
        """A new connection to the local cloud, for what is no AWS API."""
        assert self.url, "AWS has no such paths"
        host = self.url.partition("//")[2]
        if self.ca_bundle is None:
            return http.client.HTTPConnection(host, timeout=timeout)
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        return http.client.HTTPSConnection(host, timeout=timeout, context=context)

    def close(self) -> None:
        """Close the connections of every client."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _client_options(self) -> dict[str, Any]:
        if not self.is_local:
            return {}
        config = Config(max_pool_connections=_CONNECTIONS, proxies={}, retries={"total_max_attempts": 2})
        return {"endpoint_url": self.url, "config": config, "verify": str(self.ca_bundle) if self.ca_bundle else None}


def _local_session() -> boto3.Session:
    """A session that sees none of the user's profiles and credentials."""
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.Session(_LOCAL_KEY, _LOCAL_KEY, region_name=LOCAL_REGION, botocore_session=session)

"""The URL of a function: who may call it, and whether it streams."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal, get_args

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs_lib._validation import refusal, warn

__all__ = ["FunctionUrlSettings", "add_function_url", "check_function_url"]

UrlAuth = Literal["iam", "none"]
InvokeMode = Literal["RESPONSE_STREAM", "BUFFERED"]

_AUTH_TYPES: Final = {"iam": lambda_.FunctionUrlAuthType.AWS_IAM, "none": lambda_.FunctionUrlAuthType.NONE}


@dataclass(frozen=True, slots=True)
class FunctionUrlSettings:
    """How a function is reached at a URL of its own.

    Attributes:
        auth: "iam": requests that are signed, of those with ``grant_invoke_url``; "none": everybody. Default: "iam".
        invoke_mode: "RESPONSE_STREAM": the client has each chunk when it is written, 200 MB at most; "BUFFERED": it has
            the answer at once when it is whole, 6 MB at most. Default: "RESPONSE_STREAM".
        cors: what pages of other origins may do. Default: nothing.
    """

    auth: UrlAuth = "iam"
    invoke_mode: InvokeMode = "RESPONSE_STREAM"
    cors: lambda_.FunctionUrlCorsOptions | None = None

    @property
    def is_buffered(self) -> bool:
        """Whether nothing is streamed."""
        return self.invoke_mode == "BUFFERED"


def check_function_url(
    scope: Construct,
    given: bool | FunctionUrlSettings,  # noqa: FBT001  (as the construct has it)
    options: AbstractSet[str],
) -> FunctionUrlSettings | None:
    """The settings that are meant; None for no URL.

    Raises:
        ValueError: a setting is outside what Lambda takes.
    """
    settings = FunctionUrlSettings() if given is True else given or None
    if settings is None:
        return None
    if not isinstance(settings, FunctionUrlSettings):
        raise refusal(
            scope,
            "function_url",
            given=repr(given),
            allowed="True, False or FunctionUrlSettings",
            remedy="write FunctionUrlSettings(auth=…, invoke_mode=…, cors=…)",
        )
    for name, value, allowed in (
        ("auth", settings.auth, get_args(UrlAuth)),
        ("invoke_mode", settings.invoke_mode, get_args(InvokeMode)),
    ):
        if value not in allowed:
            raise refusal(
                scope,
                f"function_url.{name}",
                given=repr(value),
                allowed=" or ".join(map(repr, allowed)),
                remedy="use one of these",
            )
    _check_cors(scope, settings.cors)
    if settings.auth == "none":
        warn(
            scope,
            "function-url-open",
            f"{scope.node.path} has a URL that everybody may call, at your cost: auth='iam' asks for signed requests, "
            "and reserved_concurrent_executions= caps how many run at once",
        )
    if options & {"vpc", "subnet_ids"} and not settings.is_buffered:
        warn(
            scope,
            "function-url-vpc",
            f"{scope.node.path} is in a VPC, and AWS says that function URLs do not stream there: stream by api= or "
            "InvokeWithResponseStream, or set invoke_mode='BUFFERED'; `tasks check-streaming` tells what it does",
        )
    return settings


def _check_cors(scope: Construct, cors: lambda_.FunctionUrlCorsOptions | None) -> None:
    if not isinstance(cors, lambda_.FunctionUrlCorsOptions | None):
        raise refusal(
            scope,
            "function_url.cors",
            given=repr(cors),
            allowed="aws_lambda.FunctionUrlCorsOptions",
            remedy="write FunctionUrlCorsOptions(allowed_origins=[…])",
        )
    if cors and cors.allow_credentials and "*" in (cors.allowed_origins or ()):
        raise refusal(
            scope,
            "function_url.cors",
            given="credentials for every origin",
            allowed="credentials for origins that are named",
            remedy="name the origins: a browser refuses the two together",
        )


def add_function_url(function: lambda_.Function, settings: FunctionUrlSettings) -> lambda_.FunctionUrl:
    """Give the function its URL."""
    return function.add_function_url(
        auth_type=_AUTH_TYPES[settings.auth],
        invoke_mode=lambda_.InvokeMode[settings.invoke_mode],
        cors=settings.cors,
    )

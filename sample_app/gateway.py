"""The mail gateway: Amazon SES, with its errors sorted into those that pass and those that stay."""

import os
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ses import SESClient
    from mypy_boto3_ses.type_defs import BodyTypeDef

__all__ = ["GatewayBusyError", "MailRefusedError", "send", "send_to_shop"]

_BUSY = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable"})
_REFUSED = frozenset({"InvalidParameterValue", "MailFromDomainNotVerifiedException", "MessageRejected"})


class GatewayBusyError(Exception):
    """The gateway takes no more mail just now: try again later."""


class MailRefusedError(Exception):
    """The gateway does not take this mail, now or later."""


@cache
def _ses() -> "SESClient":
    return boto3.client("ses")


def send(to: str, subject: str, text: str, *, html: str | None = None) -> None:
    """Send an e-mail.

    Raises:
        GatewayBusyError: SES sends no more just now.
        MailRefusedError: SES will not send this one.
    """
    body: BodyTypeDef = {"Text": {"Data": text, "Charset": "UTF-8"}}
    if html is not None:
        body["Html"] = {"Data": html, "Charset": "UTF-8"}
    try:
        _ses().send_email(
            Source=os.environ["SHOP_SENDER"],
            Destination={"ToAddresses": [to]},
            Message={"Subject": {"Data": subject, "Charset": "UTF-8"}, "Body": body},
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code in _BUSY:
            raise GatewayBusyError(str(error)) from error
        if code in _REFUSED:
            raise MailRefusedError(str(error)) from error
        raise


def send_to_shop(subject: str, text: str) -> None:
    """Send an e-mail to the shop's own address, which is the one that its mail comes from. As `send`."""
    send(os.environ["SHOP_SENDER"], subject, text)

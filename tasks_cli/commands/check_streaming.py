"""`tasks check-streaming`."""

from dataclasses import asdict
from typing import Annotated

import typer

from tasks_cli import output

Url = Annotated[str, typer.Argument(help="Where the function answers: its own URL, or that of an API's method.")]
Sign = Annotated[bool, typer.Option("--sign", help="Sign the request with your AWS credentials, as auth='iam' asks.")]


def check_streaming(url: Url, *, sign: Sign = False, json: output.Json = False) -> None:
    """Say whether an answer is streamed: send a GET request, and measure when its bytes come.

    The function should take a while to write; what takes less than 20 ms cannot be told from an answer that was held
    back. The exit code is 1 if everything came at once.

    \b
    Examples:
      tasks check-streaming https://abc.lambda-url.eu-west-1.on.aws/
      tasks check-streaming https://abc.lambda-url.eu-west-1.on.aws/export --sign
    """
    from tasks_cli.streaming_check import measure  # noqa: PLC0415

    found = measure(url, sign=sign)
    reason = found.buffered
    if json:
        output.print_json({"url": url, **asdict(found), "streams": reason is None, "reason": reason})
    else:
        print(f"first byte after {_milliseconds(found.first_byte)}")
        print(f"last byte after {_milliseconds(found.last_byte)}")
        print(
            f"{found.size:,} bytes in {found.chunks} chunks over {_milliseconds(found.last_byte - found.first_byte)}, "
            f"the longest pause {_milliseconds(found.longest_pause)}"
        )
        print(f"It is not streamed: {reason}." if reason else "It is streamed.")
    if reason:
        raise typer.Exit(1)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"

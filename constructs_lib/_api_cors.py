"""What pages of other origins may do with an API."""

import json

from aws_cdk import aws_apigateway as apigateway
from constructs import Construct

from constructs_lib._api_options import ApiOptions
from constructs_lib._validation import refusal
from runtime_lib import contract

__all__ = ["OtherOrigins", "check_cors"]


def check_cors(scope: Construct, options: ApiOptions) -> None:
    """Refuse what a browser would refuse, and what keeps API Gateway from answering it.

    Raises:
        ValueError: every origin may send credentials, or everything is binary.
    """
    cors = options.get("cors")
    if cors and "*/*" in options.get("binary_media_types", ()):
        raise refusal(
            scope,
            "binary_media_types",
            given="'*/*', and cors is set",
            allowed="types that are named, such as 'image/png'",
            remedy="with all types, API Gateway answers preflight requests with 500",
        )
    if cors and cors.allow_credentials and "*" in cors.allow_origins:
        raise refusal(
            scope,
            "cors",
            given="credentials for every origin",
            allowed="credentials for origins that are named",
            remedy="name the origins: a browser refuses the two together",
        )


class OtherOrigins:
    """Answers browsers that ask for pages of other origins, and lets them read what API Gateway itself answers."""

    def __init__(self, api: apigateway.RestApi, cors: apigateway.CorsOptions) -> None:
        self._cors = cors
        origins = cors.allow_origins
        # Several origins cannot be compared there; those answers tell nothing that a stranger may not know.
        origin = f"'{origins[0]}'" if len(origins) == 1 else "method.request.header.origin"
        headers = {"Access-Control-Allow-Origin": origin}
        if cors.allow_credentials:
            headers["Access-Control-Allow-Credentials"] = "'true'"
        for response in (apigateway.ResponseType.DEFAULT_4_XX, apigateway.ResponseType.DEFAULT_5_XX):
            api.add_gateway_response(f"Cors{response.response_type}", type=response, response_headers=headers)

    @property
    def answers_differ(self) -> bool:
        """Whether an answer depends on the origin that asks."""
        return "*" not in self._cors.allow_origins

    @property
    def task_environment(self) -> dict[str, str]:
        """What the functions behind the API need to know, to let their own answers be read."""
        allowed = {
            "origins": self._cors.allow_origins,
            "credentials": bool(self._cors.allow_credentials),
            "expose_headers": self._cors.expose_headers or [],
        }
        return {contract.ENV_API_CORS: json.dumps(allowed, separators=(",", ":"))}

    def answer_preflight(self, resource: apigateway.Resource | apigateway.IResource) -> None:
        """Have API Gateway answer OPTIONS of a path, once."""
        if resource.node.try_find_child("OPTIONS"):
            return
        cors = self._cors
        resource.add_cors_preflight(
            allow_origins=cors.allow_origins,
            allow_credentials=cors.allow_credentials,
            allow_headers=cors.allow_headers,
            allow_methods=cors.allow_methods,
            disable_cache=cors.disable_cache,
            expose_headers=cors.expose_headers,
            max_age=cors.max_age,
            status_code=cors.status_code,
        )

"""Who may call the methods of an API."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cognito as cognito
from constructs import Construct

from constructs_lib._api_options import Authorization
from constructs_lib._validation import refusal

__all__ = ["Authorizations", "MethodAuthorization", "check_scopes"]

_TYPES: Final = {"iam": apigateway.AuthorizationType.IAM, "none": apigateway.AuthorizationType.NONE}


class MethodAuthorization(NamedTuple):
    """What one method asks of its callers.

    ``kind`` is as API Gateway spells it, for tools that read the template.
    """

    type: apigateway.AuthorizationType | None
    authorizer: apigateway.IAuthorizer | None
    kind: str


def check_scopes(scope: Construct, scopes: Sequence[str] | None, authorization: MethodAuthorization) -> None:
    """Refuse OAuth scopes where no token has them.

    Raises:
        ValueError: the method asks for no token of a user pool.
    """
    if scopes and authorization.kind != "COGNITO_USER_POOLS":
        raise refusal(
            scope,
            "authorization_scopes",
            given=f"{list(scopes)!r}, and authorization is {authorization.kind}",
            allowed="scopes with a user pool",
            remedy="remove them, or give authorization= a user pool",
        )


class Authorizations(Construct):
    """The authorizers of one API; user pools get theirs here, one each."""

    def authorization(self, scope: Construct, given: Authorization) -> MethodAuthorization:
        """What a method is to ask.

        Raises:
            ValueError: it is neither a word, a user pool nor an authorizer.
        """
        if isinstance(given, str):
            if given not in _TYPES:
                raise self._refused(scope, repr(given))
            found = _TYPES[given]
            return MethodAuthorization(found, None, "AWS_IAM" if given == "iam" else "NONE")
        # What is imported reaches Python as a proxy of no class.
        if hasattr(given, "user_pool_id"):
            return MethodAuthorization(None, self._of_pool(cast("Any", given)), "COGNITO_USER_POOLS")
        if hasattr(given, "authorizer_id"):
            kind = "COGNITO_USER_POOLS" if isinstance(given, apigateway.CognitoUserPoolsAuthorizer) else "CUSTOM"
            return MethodAuthorization(None, cast("Any", given), kind)
        raise self._refused(scope, type(given).__name__)

    def _of_pool(self, pool: cognito.IUserPool) -> apigateway.IAuthorizer:
        construct_id = cdk.Names.node_unique_id(pool.node)
        existing = self.node.try_find_child(construct_id)
        return cast(
            "apigateway.IAuthorizer",
            existing or apigateway.CognitoUserPoolsAuthorizer(self, construct_id, cognito_user_pools=[pool]),
        )

    @staticmethod
    def _refused(scope: Construct, given: str) -> ValueError:
        return refusal(
            scope,
            "authorization",
            given=given,
            allowed="'iam', 'none', a user pool, or an authorizer of aws_apigateway",
            remedy="say who may call; 'none' is everybody",
        )

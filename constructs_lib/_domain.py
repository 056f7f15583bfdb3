"""The domain name of an API: its certificate, the TLS that it speaks, and its record."""

import re
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, cast

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from constructs_lib._api_options import ApiOptions
from constructs_lib._validation import refusal, warn

__all__ = ["ApiDomain", "Tls", "check_domain"]

_NEED_A_DOMAIN: Final = ("base_path", "certificate", "hosted_zone", "mutual_tls")
_HOST: Final = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_BASE_PATH: Final = re.compile(r"[\w$.+!*'()-]+", re.ASCII)
_CERTIFICATE: Final = re.compile(r"arn:[a-z-]+:acm:(?P<region>[a-z0-9-]+):\d{12}:certificate/.+")
_ENHANCED: Final = "SecurityPolicy_"  # as AWS spells the policies that the CDK's names begin with TLS13


class Tls(NamedTuple):
    """The oldest TLS that an endpoint speaks."""

    policy: apigateway.SecurityPolicy
    access_mode: apigateway.EndpointAccessMode | None

    @classmethod
    def of(cls, scope: Construct, options: ApiOptions) -> "Tls":
        """What the options say, which is TLS 1.2 if they say nothing.

        Raises:
            ValueError: there is no such policy, it is one of edge-optimized endpoints, or what else is given excludes
                it.
        """
        policy = _policy(scope, options.get("security_policy", apigateway.SecurityPolicy.TLS_1_2))
        mode = options.get("endpoint_access_mode")
        if policy is apigateway.SecurityPolicy.TLS_1_0:
            warn(
                scope,
                "api-tls-1-0",
                f"{scope.node.path} speaks TLS 1.0 and 1.1, which are no longer safe: leave out security_policy for "
                "TLS 1.2 as soon as the last old client is gone",
            )
        if not _is_enhanced(policy):
            if mode is not None:
                raise refusal(
                    scope,
                    "endpoint_access_mode",
                    given=repr(mode),
                    allowed=f"nothing with security_policy {policy.name}",
                    remedy="remove it, or choose a TLS 1.3 policy",
                )
            return cls(policy, None)
        if "mutual_tls" in options:
            raise refusal(
                scope,
                "mutual_tls",
                given=f"set, and security_policy is {policy.name}",
                allowed="TLS_1_2 with mutual TLS",
                remedy="API Gateway has mutual TLS with its older policies only: remove one of the two",
            )
        modes = apigateway.EndpointAccessMode.__members__
        if mode is not None and mode not in modes:
            raise refusal(
                scope, "endpoint_access_mode", given=repr(mode), allowed=", ".join(modes), remedy="use one of these"
            )
        return cls(policy, modes[mode or "STRICT"])

    def apply_to(self, api: apigateway.RestApi) -> None:
        """Set it for the API's own address; by default that speaks TLS 1.0."""
        resource = api.node.default_child
        assert isinstance(resource, apigateway.CfnRestApi)
        resource.security_policy = (_ENHANCED if _is_enhanced(self.policy) else "") + self.policy.name
        resource.endpoint_access_mode = self.access_mode and self.access_mode.name


def _is_enhanced(policy: apigateway.SecurityPolicy) -> bool:
    return policy not in {apigateway.SecurityPolicy.TLS_1_0, apigateway.SecurityPolicy.TLS_1_2}


def _policy(scope: Construct, given: apigateway.SecurityPolicy | str) -> apigateway.SecurityPolicy:
    known = {name: policy for name, policy in apigateway.SecurityPolicy.__members__.items() if "EDGE" not in name}
    name = given.removeprefix(_ENHANCED) if isinstance(given, str) else given.name
    if name in known:
        return known[name]
    near = get_close_matches(name, known, 1)
    raise refusal(
        scope,
        "security_policy",
        given=repr(given) if isinstance(given, str) else given.name,
        allowed=", ".join(known),
        remedy=f"did you mean {near[0]}?" if near else "these are the policies of regional endpoints",
    )


def check_domain(scope: Construct, options: ApiOptions) -> None:
    """Refuse what API Gateway, Certificate Manager or Route 53 would refuse, or accept and not do.

    Raises:
        ValueError: the message says which argument, and what to do.
    """
    domain_name = options.get("domain_name")
    if domain_name is None:
        for argument in _NEED_A_DOMAIN:
            if argument in options:
                raise refusal(
                    scope,
                    argument,
                    given="set, and domain_name is not",
                    allowed="both, or neither",
                    remedy="give domain_name as well",
                )
        if options.get("default_endpoint") is False:
            raise refusal(
                scope,
                "default_endpoint",
                given="False, and there is no domain_name",
                allowed="an API that can be reached",
                remedy="give domain_name as well",
            )
        return
    if not cdk.Token.is_unresolved(domain_name) and not _HOST.fullmatch(domain_name):
        raise refusal(
            scope,
            "domain_name",
            given=repr(domain_name),
            allowed="a host name in lower case, such as 'api.example.com'",
            remedy="leave out the scheme, a port and a path",
        )
    base_path = options.get("base_path")
    if base_path is not None and not cdk.Token.is_unresolved(base_path) and not _BASE_PATH.fullmatch(base_path):
        raise refusal(
            scope,
            "base_path",
            given=repr(base_path),
            allowed="one part of a path, such as 'shop', of letters, digits and $-_.+!*'()",
            remedy="leave out slashes, and the base path itself for all of the domain",
        )
    _check_certificate(scope, domain_name, options)
    _check_zone(scope, domain_name, options)


def _check_certificate(scope: Construct, domain_name: str, options: ApiOptions) -> None:
    certificate = options.get("certificate")
    if certificate is None:
        if "hosted_zone" not in options:
            raise refusal(
                scope,
                "certificate",
                given="not set, and hosted_zone is not either",
                allowed="one of the two, or both",
                remedy=f"give a certificate for {domain_name}, or the hosted zone in which one can be validated",
            )
        return
    arn = certificate if isinstance(certificate, str) else certificate.certificate_arn
    if cdk.Token.is_unresolved(arn):
        return
    match = _CERTIFICATE.fullmatch(arn)
    if not match:
        raise refusal(
            scope,
            "certificate",
            given=repr(arn),
            allowed="a certificate of AWS Certificate Manager, or its ARN",
            remedy="import it there, and give its ARN",
        )
    region = cdk.Stack.of(scope).region
    if not cdk.Token.is_unresolved(region) and match["region"] != region:
        raise refusal(
            scope,
            "certificate",
            given=f"in {match['region']}",
            allowed=f"one in {region}",
            remedy="a regional API takes certificates of its own region: make one there, or give a hosted_zone",
        )


def _check_zone(scope: Construct, domain_name: str, options: ApiOptions) -> None:
    zone = options.get("hosted_zone")
    # A zone that is known by its id alone has no name.
    if zone is None or isinstance(zone, str):
        return
    zone_name = _zone_name(zone)
    if zone_name is None or cdk.Token.is_unresolved(zone_name) or cdk.Token.is_unresolved(domain_name):
        return
    if domain_name != zone_name and not domain_name.endswith(f".{zone_name}"):
        raise refusal(
            scope,
            "hosted_zone",
            given=f"the zone of {zone_name}",
            allowed=f"the zone of {domain_name} or of a domain above it",
            remedy="give the zone that the domain's records are in",
        )


def _zone_name(zone: route53.IHostedZone | route53.HostedZone) -> str | None:
    try:
        return zone.zone_name.removesuffix(".")
    except RuntimeError:  # HostedZone.from_hosted_zone_id does not know it
        return None


class ApiDomain(Construct):
    """A domain name that leads to an API.

    Attributes:
        domain: the domain name.
        certificate: its certificate, given or made.
        record: the record that leads to it; None without a hosted zone.
        url: where the API is, with a slash at the end.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: apigateway.RestApi,
        domain_name: str,
        tls: Tls,
        options: ApiOptions,
    ) -> None:
        super().__init__(scope, construct_id)
        base_path = options.get("base_path")
        given = options.get("hosted_zone")
        zone = route53.HostedZone.from_hosted_zone_id(self, "Zone", given) if isinstance(given, str) else given
        self.certificate: Final = self._certificate(domain_name, options.get("certificate"), zone)
        self.domain: Final = apigateway.DomainName(
            self,
            "Name",
            domain_name=domain_name,
            certificate=cast("Any", self.certificate),
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=tls.policy,
            endpoint_access_mode=tls.access_mode,
            mtls=options.get("mutual_tls"),
        )
        self.domain.add_base_path_mapping(
            cast("apigateway.IRestApi", api), base_path=base_path, stage=api.deployment_stage
        )
        self.record: Final = (
            None
            if zone is None
            else route53.ARecord(
                self,
                "Record",
                zone=cast("Any", zone),
                # With a dot at its end it is a full name, whatever the zone is called.
                record_name=f"{domain_name}.",
                target=route53.RecordTarget.from_alias(
                    cast(
                        "route53.IAliasRecordTarget",
                        targets.ApiGatewayDomain(cast("apigateway.IDomainName", self.domain)),
                    )
                ),
            )
        )
        self.url: Final = f"https://{domain_name}/{base_path}/" if base_path else f"https://{domain_name}/"

    def _certificate(
        self,
        domain_name: str,
        given: acm.ICertificate | acm.Certificate | str | None,
        zone: route53.IHostedZone | route53.HostedZone | None,
    ) -> acm.ICertificate | acm.Certificate:
        if isinstance(given, str):
            return acm.Certificate.from_certificate_arn(self, "Certificate", given)
        if given is not None:
            return given
        return acm.Certificate(
            self,
            "Certificate",
            domain_name=domain_name,
            validation=acm.CertificateValidation.from_dns(cast("route53.IHostedZone", zone)),
        )

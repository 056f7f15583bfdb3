"""Whose events these are: an account and a region that documentation uses."""

ACCOUNT = "123456789012"
REGION = "us-east-1"

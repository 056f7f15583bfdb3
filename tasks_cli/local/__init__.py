"""The local cloud: MiniStack on loopback, a CDK app's assembly deployed to it, functions on the real Lambda client."""

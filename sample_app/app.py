"""The CDK app of the sample, for `tasks synth`, `tasks local deploy` and `npx aws-cdk@2 deploy -c sender=<address>`."""

import aws_cdk as cdk

from sample_app.stack import BackOffice

app = cdk.App()
sender = app.node.try_get_context("sender")
if not sender:
    raise ValueError("the shop's mail needs a sender: add -c sender=<address>, or 'sender' to the context of cdk.json")
BackOffice(app, "ShopBackOffice", sender=sender)
app.synth()

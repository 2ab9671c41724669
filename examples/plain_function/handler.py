"""A Lambda function of another repository: its only package is serverless_flags, as a layer or in its requirements."""

from serverless_flags import flags

flags.read_ahead()


def handle(event, _lambda_context):
    customer = flags.Context.create(event["customer"])
    if flags.variation("new-checkout", customer, default=False):
        return {"checkout": "new"}
    return {"checkout": "old"}

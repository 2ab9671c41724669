"""One flag, with the layer."""

from serverless_flags import flags

flags.read_ahead()


def handle(event, _lambda_context):
    return {"value": flags.variation(event["flag"], event["context"], default=None)}

"""Nothing: what every function of Lambda pays."""


def handle(event, _lambda_context):
    return {"value": event["flag"]}

"""One flag, with LaunchDarkly's SDK in daemon mode over its own store, which somebody else has filled."""

import os

from ldclient import Context, LDClient
from ldclient.config import Config
from ldclient.integrations import DynamoDB, Redis

if "REDIS_URL" in os.environ:
    store = Redis.new_feature_store(url=os.environ["REDIS_URL"])
else:
    store = DynamoDB.new_feature_store(os.environ["DYNAMODB_TABLE"], prefix="launchdarkly")
client = LDClient(Config("not-used", feature_store=store, use_ldd=True, send_events=False))


def handle(event, _lambda_context):
    return {"value": client.variation(event["flag"], Context.from_dict(event["context"]), None)}

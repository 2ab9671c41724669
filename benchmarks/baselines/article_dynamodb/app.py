"""The article's daemon handler in Python, over the SDK's own DynamoDB store."""

import os

import ldclient
from chalice import Chalice
from ldclient import Context
from ldclient.config import Config
from ldclient.feature_store import CacheConfig
from ldclient.integrations import DynamoDB

app = Chalice(app_name="article_dynamodb")

caching = CacheConfig.disabled() if os.environ.get("CACHE") == "off" else CacheConfig.default()
store = DynamoDB.new_feature_store(os.environ["DYNAMODB_TABLE"], prefix="launchdarkly", caching=caching)
ldclient.set_config(Config(os.environ["LAUNCHDARKLY_SDK_KEY"], feature_store=store, use_ldd=True, send_events=False))
client = ldclient.get()


@app.lambda_function()
def on_event(event, context):
    user = Context.from_dict(event["context"])
    if "flag" in event:
        return {"value": client.variation(event["flag"], user, None)}
    return client.all_flags_state(user).to_json_dict()

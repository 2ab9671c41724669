"""The naive handler: the SDK connects to LaunchDarkly at every cold start."""

import os

import ldclient
from chalice import Chalice
from ldclient import Context
from ldclient.config import Config

app = Chalice(app_name="naive")

ldclient.set_config(Config(os.environ["LAUNCHDARKLY_SDK_KEY"], stream_uri=os.environ["LAUNCHDARKLY_STREAM_URI"],
                           events_uri=os.environ["LAUNCHDARKLY_STREAM_URI"]))  # fmt: skip
client = ldclient.get()


@app.lambda_function()
def on_event(event, context):
    user = Context.from_dict(event["context"])
    if "flag" in event:
        return {"value": client.variation(event["flag"], user, None)}
    return client.all_flags_state(user).to_json_dict()

"""The floor: a Chalice function that does nothing."""

from chalice import Chalice

app = Chalice(app_name="empty")


@app.lambda_function()
def on_event(event, context):
    return {"value": True}

"""What an order service adds to the end of app.py: a route, a queue's handler and a scheduled job, each with flags."""
# ruff: noqa: F821 - app is that of app.py

from chalice.app import BadRequestError, CloudWatchEvent, SQSEvent

from chalicelib import flags, order_prices


@app.protected_route("/quotes", methods=["POST"])
def quote() -> dict[str, object]:
    """What an order would cost its organization, at the prices that the organization has."""
    assert app.current_request is not None  # it is there while a view runs
    try:
        order = order_prices.parse_order(app.current_request.json_body)
    except order_prices.InvalidOrder as error:
        raise BadRequestError(str(error)) from None
    new_pricing = flags.variation("new-pricing", order.context, default=False)
    return {"total": order_prices.total(order, new_pricing=new_pricing), "newPricing": new_pricing}


@app.on_sqs_message(queue="orders", batch_size=10)
def price_orders(event: SQSEvent) -> None:
    """Keep the orders of a batch, all at the prices of one revision of the flags."""
    with flags.one_revision() as client:
        for record in event:
            order = order_prices.parse_order(order_prices.json_of(record.body))
            new_pricing = client.variation("new-pricing", order.context, False)
            order_prices.keep(order, order_prices.total(order, new_pricing=new_pricing))


@app.schedule("rate(1 hour)")
def remind_customers(event: CloudWatchEvent) -> dict[str, int]:
    """Remind of as many open orders as the flag says; without flags, of none."""
    limit = flags.variation("reminders-per-hour", order_prices.SERVICE, default=0)
    return {"reminded": order_prices.remind(limit)}

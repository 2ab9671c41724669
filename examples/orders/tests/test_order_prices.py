"""How the order service is tested: flags have the values that a test gives them, and no store is asked."""

from __future__ import annotations

import json

import pytest
from chalice.test import Client

from chalicelib import order_prices
from chalicelib.testing import OverrideFlags, override

ORDER = {"id": "1", "organization": "acme", "items": [{"price": 60_00, "count": 2}]}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("new_pricing", "total"), [(False, 120_00), (True, 108_00)])
def test_a_quote_has_the_prices_of_the_flag(client: Client, new_pricing: bool, total: int) -> None:
    with override(new_pricing=new_pricing, strict=True):
        answer = client.http.post("/quotes", headers=JSON, body=json.dumps(ORDER))
    assert answer.json_body == {"total": total, "newPricing": new_pricing}


def test_a_batch_of_orders_is_kept_at_the_prices_of_the_flag(
    client: Client, override_flags: OverrideFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(order_prices, "keep", lambda order, total: kept.append(total))
    override_flags(new_pricing=True)
    batch = client.events.generate_sqs_event([json.dumps(ORDER)] * 2, queue_name="orders")
    client.lambda_.invoke("price_orders", batch)
    assert kept == [108_00, 108_00]


def test_without_flags_nobody_is_reminded(client: Client, override_flags: OverrideFlags) -> None:
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    assert client.lambda_.invoke("remind_customers", event).payload == {"reminded": 0}

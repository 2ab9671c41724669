"""LaunchDarkly's client SDKs and OpenFeature's web SDK, pointed straight at the deployment package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from tests.support import parity
from tests.support.api_gateway import api_gateway
from tests.support.browser import WatchedPage, watched_page
from tests.support.client_sdks import NodeSdk, SdkError, node_sdk, page_with_sdks
from tests.support.data import Json
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.lambda_runtime import Function
from tests.support.packages import lambda_runtime, unzip_read_only
from tests.support.ports import free_port
from tests.support.valkey import running_valkey
from tests.support.webhooks import flag_entry, signature_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ID, MOBILE_KEY, SDK_KEY = "5f1a6c0e9b2d4c0a1b3e5d7f", "mob-2f6e1c1e", "sdk-2f6e1c1e"
TOKEN, PAGE_TOKEN = "token-of-a-server", "token-of-a-page"
HIDDEN = {"off", "in, string", "circle two", "prerequisite that is met"}
VISIBLE = sorted(parity.FLAGS.keys() - HIDDEN)
CONTEXTS = [parity.CONTEXTS[name] for name in (*sorted(parity.EVERYBODY), *(f"user-{number}" for number in range(6)))]
ANNA = parity.CONTEXTS["anna"]
CHANGED = "tracked"
"""A flag that the tests change."""


def flag_for_pages(flag: Json) -> Json:
    return {
        **flag,
        "clientSideAvailability": {"usingEnvironmentId": flag["key"] not in HIDDEN, "usingMobileKey": False},
    }


class Served(NamedTuple):
    """The app behind API Gateway: as it is, and in secure mode over the same store; and a page of another origin."""

    url: str
    secure_url: str
    page: str
    launchdarkly: FakeLaunchDarkly

    def change(self, version: int, value: int) -> None:
        """Change the flag at LaunchDarkly, which announces it; what the app answers afterwards is the new value."""
        flag = {**parity.FLAGS[CHANGED], "version": version, "rules": [], "fallthrough": {"variation": value}}
        self.launchdarkly.put_flag(flag_for_pages(flag))
        answer = requests.post(f"{self.url}/webhook", json=flag_entry(CHANGED, version), timeout=60)
        assert answer.json()["confirmed"] is True, answer.text

    def evaluated(self, context: Json) -> dict[str, Json]:
        """What a server learns of the flags that a page may see, in the words of the client SDKs."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(f"{self.url}/evaluate?withReasons=true", json=context, headers=headers, timeout=60)
        return {key: detail_of(each) for key, each in answer.json().items() if key not in HIDDEN}

    def bootstrap(self, context: Json) -> Json:
        headers = {"Authorization": f"Bearer {PAGE_TOKEN}"}
        url = f"{self.url}/evaluate?format=bootstrap&withReasons=true"
        answer: Json = requests.post(url, json=context, headers=headers, timeout=60).json()
        return answer


def detail_of(evaluation: Json) -> Json:
    reason = evaluation["reason"]
    if reason.get("prerequisiteKey") not in VISIBLE:  # a page does not learn of it
        reason = {name: value for name, value in reason.items() if name != "prerequisiteKey"}
    return {"value": evaluation["value"], "variationIndex": evaluation.get("variation"), "reason": reason}


@pytest.fixture(scope="module")
def served(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    package = unzip_read_only(packaged / "out" / "deployment.zip", tmp_path_factory.mktemp("package") / "unzipped")
    port = free_port()
    with ExitStack() as stack:
        launchdarkly = FakeLaunchDarkly()
        stack.callback(launchdarkly.close)
        flags = {key: flag_for_pages(flag) for key, flag in parity.FLAGS.items()}
        launchdarkly.replace(flags, parity.ALL_SEGMENTS)
        environment = {
            "REDIS_URL": stack.enter_context(running_valkey()).url,
            "LAUNCHDARKLY_SDK_KEY": SDK_KEY,
            "LAUNCHDARKLY_STREAM_URI": launchdarkly.uri,
            "LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow",
            "LAUNCHDARKLY_CLIENT_SIDE_ID": ID,
            "LAUNCHDARKLY_MOBILE_KEY_SHA256": hashlib.sha256(MOBILE_KEY.encode()).hexdigest(),
            "EVALUATE_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "EVALUATE_CLIENT_TOKEN_SHA256": hashlib.sha256(PAGE_TOKEN.encode()).hexdigest(),
            "CORS_ALLOW_ORIGIN": f"http://127.0.0.1:{port}",
        }

        def deployed(**variables: str) -> str:
            function = Function(package, "app.app", {**environment, **variables}, lambda_runtime())
            stack.enter_context(function)
            return stack.enter_context(api_gateway(lambda event: function.invoke(event).payload))

        url, secure_url = deployed(), deployed(LAUNCHDARKLY_SECURE_MODE="on")
        page = stack.enter_context(page_with_sdks(port))
        served = Served(url, secure_url, page, launchdarkly)
        served.change(12, 2)
        yield served


@pytest.fixture(scope="module")
def in_node() -> Iterator[NodeSdk]:
    with node_sdk() as sdk:
        yield sdk


def hash_of(key: str, sdk_key: str = SDK_KEY) -> str:
    """The secure-mode hash is an HMAC-SHA256 as the signature of a webhook is, of a key of kind user."""
    return signature_of(key.encode(), sdk_key)


# LaunchDarkly's Node client SDK.


def test_the_node_sdk_evaluates_every_flag_as_a_server_does(served: Served, in_node: NodeSdk) -> None:
    in_node.start(served.url, ID, CONTEXTS[0])
    assert in_node.details(VISIBLE) == served.evaluated(CONTEXTS[0])
    for context in CONTEXTS[1:]:
        assert in_node.identify(context, VISIBLE) == served.evaluated(context)


UNKNOWN = {"value": None, "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"}}


def test_the_node_sdk_knows_nothing_of_a_hidden_flag(served: Served, in_node: NodeSdk) -> None:
    in_node.start(served.url, ID, ANNA)
    assert in_node.details(["off", "no such flag"]) == {"off": UNKNOWN, "no such flag": UNKNOWN}


def test_the_node_sdk_sees_a_change_when_it_asks_again(served: Served, in_node: NodeSdk) -> None:
    in_node.start(served.url, ID, ANNA)
    served.change(21, 0)
    assert in_node.identify(ANNA, [CHANGED])[CHANGED]["value"] == parity.OFF
    served.change(22, 2)
    assert in_node.identify(ANNA, [CHANGED])[CHANGED]["value"] == parity.MATCH


def test_the_node_sdk_starts_from_our_bootstrap_without_asking(served: Served, in_node: NodeSdk) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    in_node.start(nobody, ID, ANNA, bootstrap=served.bootstrap(ANNA))
    assert in_node.details(VISIBLE) == served.evaluated(ANNA)


@pytest.mark.parametrize("environment", ["other", MOBILE_KEY, SDK_KEY])
def test_the_node_sdk_is_refused_with_another_environment(served: Served, in_node: NodeSdk, environment: str) -> None:
    with pytest.raises(SdkError, match="Environment not found"):
        in_node.start(served.url, environment, ANNA)


def test_the_node_sdk_proves_in_secure_mode_who_asks(served: Served, in_node: NodeSdk) -> None:
    for options in ({}, {"hash": hash_of("ben")}, {"hash": hash_of("anna", "sdk-other")}):
        with pytest.raises(SdkError, match="400"):
            in_node.start(served.secure_url, ID, ANNA, **options)
        assert in_node.details([CHANGED]) == {CHANGED: UNKNOWN}
    in_node.start(served.secure_url, ID, ANNA, hash=hash_of("anna"))
    assert in_node.details(VISIBLE) == served.evaluated(ANNA)
    with pytest.raises(SdkError, match="400"):
        in_node.identify(parity.CONTEXTS["ben"], VISIBLE, hash=hash_of("anna"))
    ben = parity.CONTEXTS["ben"]
    assert in_node.identify(ben, VISIBLE, hash=hash_of("ben")) == served.evaluated(ben)


# A page.


@pytest.fixture(scope="module")
def tab(browser: Browser, served: Served) -> Iterator[WatchedPage]:
    """In the end it must have asked nobody but its own server and the app."""
    with watched_page(browser) as tab:
        tab.page.goto(served.page)
        tab.page.wait_for_function("window.sdks !== undefined")
        yield tab
        own = served.page.removesuffix("page.html")
        elsewhere = [url for url in tab.requested if not url.startswith((own, served.url, served.secure_url, "data:"))]
        assert elsewhere == []


@pytest.fixture
def page(tab: WatchedPage) -> Page:
    """With SDKs that remember nothing."""
    tab.page.evaluate("localStorage.clear()")
    return tab.page


VERSIONS = ["version3", "version4"]


def call(page: Page, sdk: str, function: str, argument: object = None) -> Any:
    """What the function of ``tests/client_sdks/page.js`` returns. Raises playwright's Error when it throws."""
    return page.evaluate(f"(argument) => window.sdks.{sdk}.{function}(argument)", argument)


def start(page: Page, sdk: str, url: str, context: Json, environment: str = ID, **options: object) -> None:
    call(page, sdk, "start", {"environment": environment, "url": url, "context": context, **options})


@pytest.mark.parametrize("sdk", VERSIONS)
def test_the_browser_sdk_evaluates_every_flag_as_a_server_does(served: Served, page: Page, sdk: str) -> None:
    start(page, sdk, served.url, CONTEXTS[0])
    assert call(page, sdk, "details", VISIBLE) == served.evaluated(CONTEXTS[0])
    for context in CONTEXTS[1:]:
        answer = call(page, sdk, "identify", {"context": context, "keys": VISIBLE})
        assert answer == served.evaluated(context)
    hidden = call(page, sdk, "details", ["off"])["off"]
    assert (hidden["value"], hidden["reason"]["errorKind"]) == (None, "FLAG_NOT_FOUND")


@pytest.mark.parametrize("sdk", VERSIONS)
def test_the_browser_sdk_sees_a_change_when_it_asks_again(served: Served, page: Page, sdk: str) -> None:
    start(page, sdk, served.url, ANNA)
    first = 30 + 10 * VERSIONS.index(sdk)
    for version, (variation, value) in enumerate([(0, parity.OFF), (2, parity.MATCH)], first):
        served.change(version, variation)
        assert call(page, sdk, "identify", {"context": ANNA, "keys": [CHANGED]})[CHANGED]["value"] == value


@pytest.mark.parametrize("sdk", VERSIONS)
def test_the_browser_sdk_starts_from_our_bootstrap(served: Served, page: Page, sdk: str) -> None:
    start(page, sdk, served.url, ANNA, "an environment that is not served", bootstrap=served.bootstrap(ANNA))
    assert call(page, sdk, "details", VISIBLE) == served.evaluated(ANNA)


@pytest.mark.parametrize("sdk", VERSIONS)
def test_the_browser_sdk_is_refused_with_another_environment_or_hash(served: Served, page: Page, sdk: str) -> None:
    from playwright.sync_api import Error

    for environment in ("other", MOBILE_KEY):
        with pytest.raises(Error):
            start(page, sdk, served.url, ANNA, environment)
        assert call(page, sdk, "details", [CHANGED])[CHANGED]["value"] is None
    start(page, sdk, served.secure_url, ANNA, hash=hash_of("anna"))
    assert call(page, sdk, "details", VISIBLE) == served.evaluated(ANNA)


# OpenFeature's web SDK, by OFREP.


def test_openfeatures_web_provider_evaluates_and_polls_across_origins(served: Served, page: Page) -> None:
    context = {"targetingKey": "anna", "email": "anna@example.com"}
    options = {"url": served.url, "token": PAGE_TOKEN, "context": context, "pollInterval": 200}
    call(page, "openFeature", "start", options)
    keys = ["startsWith", "off", CHANGED]
    details = call(page, "openFeature", "details", keys)
    assert {key: each["value"] for key, each in details.items()} == {
        "startsWith": parity.MATCH,
        "off": "default",
        CHANGED: parity.MATCH,
    }
    assert (details["startsWith"]["reason"], details["off"]["errorCode"]) == ("TARGETING_MATCH", "FLAG_NOT_FOUND")

    page.evaluate("window.changed = window.sdks.openFeature.changed(); undefined")
    served.change(60, 0)
    changed = set(page.evaluate("window.changed.then((event) => event.flagsChanged)"))
    failing = {key for key, each in served.evaluated(ANNA).items() if each["reason"]["kind"] == "ERROR"}
    assert changed - failing == {CHANGED}  # a failure says of which revision it is
    assert call(page, "openFeature", "details", [CHANGED])[CHANGED]["value"] == parity.OFF

    ben = {"context": {"targetingKey": "ben"}, "keys": ["startsWith"]}
    assert call(page, "openFeature", "identify", ben)["startsWith"]["value"] == parity.FALLTHROUGH
    served.change(61, 2)

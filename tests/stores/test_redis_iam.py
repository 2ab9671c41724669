"""IAM authentication of ElastiCache: both paths log in by tokens as AWS's SDK signs them, each connection anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import redis

from chalicelib.config import load_settings
from chalicelib.errors import ConfigurationError, StoreUnavailable
from chalicelib.stores.redis.address import address_of
from chalicelib.stores.redis.events import RedisEventQueue
from chalicelib.stores.redis.iam import Cache, Keys, token
from chalicelib.stores.redis.reader import RedisReader
from chalicelib.stores.redis.writer import RedisWriter
from tests.support.app import QUICK, App, Environment, LoadApp
from tests.support.certificates import Certificates, make_certificates
from tests.support.data import boolean_flag, by_key
from tests.support.elasticache import ACCESS, ElastiCache, signed_by_aws
from tests.support.fake_launchdarkly import FakeLaunchDarkly
from tests.support.timings import PATIENT
from tests.support.valkey import ValkeyServer

USER = {"kind": "user", "key": "anna"}
CACHE = "iam_cache=serverlesscache:flags-cache"
REFUSED = (
    "The flag store refused the IAM token of the user in REDIS_URL: the function's role needs elasticache:Connect on "
    "the cache and on the user, whose type must be IAM and whose name must be its ID, in the cache's user group."
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def cache(valkey: redis.Redis, valkey_server: ValkeyServer, certificates: Certificates) -> Iterator[ElastiCache]:
    with closing(ElastiCache(valkey_server.port, certificates, "flags+user")) as cache:
        yield cache


@pytest.fixture
def url(cache: ElastiCache, certificates: Certificates) -> str:
    return f"rediss://flags+user@127.0.0.1:{cache.port}/0?{CACHE}&ssl_ca_certs={certificates.authority}"


@pytest.fixture
def app(load_app: LoadApp, environment: Environment, url: str) -> App:
    """Each command over a connection of its own, as if a minute lay between any two."""
    iam = {
        **environment,
        **ACCESS,
        "REDIS_URL": url,
        "REDIS_AUTH": "iam",
        "EVENTS": "summary",
        "EVENTS_FLUSH_SECONDS": "60",
    }
    return load_app(iam, QUICK._replace(connection_seconds=0.0))


def test_a_refresh_and_an_evaluation_log_in_by_a_token_for_each_connection(
    app: App, cache: ElastiCache, launchdarkly: FakeLaunchDarkly
) -> None:
    launchdarkly.replace(by_key(boolean_flag("shiny")))
    assert app.webhook()["status"] == "refreshed"
    by_the_writer = len(cache.tokens)
    assert by_the_writer > 1
    for _ in range(2):
        assert app.evaluate(USER)["shiny"]["value"] is True
    assert len(cache.tokens) == by_the_writer + 2
    app.invoke("deliver_events", {})
    assert all(each.startswith("flags-cache/?Action=connect&ResourceType=ServerlessCache&") for each in cache.tokens)


def test_a_token_that_is_refused_says_what_is_missing(app: App, cache: ElastiCache) -> None:
    cache.minutes_ahead = 16
    for answer in (app.post("/evaluate", USER), app.post("/webhook", {"kind": "flag"})):
        assert (answer.status_code, answer.json_body["Message"]) == (503, REFUSED)
    assert cache.tokens == []


def test_every_part_that_connects_presents_a_token_of_that_moment(cache: ElastiCache, url: str) -> None:
    access = dict(ACCESS)
    timing = PATIENT._replace(connection_seconds=0.0)
    reader = RedisReader(url, "flags", timing, iam=access)
    writer = RedisWriter(url, "flags", timing, access)
    queue = RedisEventQueue(url, "flags", PATIENT, access)
    for ask in (reader.read_sync_record, lambda: writer.read_covered("ticket"), queue.read_report):
        ask()
        signed_at = dict(parse_qsl(urlsplit(f"//{cache.tokens[-1]}").query))["X-Amz-Date"]
        age = datetime.now(timezone.utc) - datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        assert age.total_seconds() < 60


@pytest.mark.parametrize("kind", ["serverlesscache", "replicationgroup"])
@pytest.mark.parametrize("session_token", ["token//with==signs", None])
def test_the_signature_is_that_of_the_aws_sdk(kind: str, session_token: str | None) -> None:
    moment = datetime(2026, 11, 26, 1, 2, 3, tzinfo=timezone.utc)
    access = {**ACCESS, "AWS_SESSION_TOKEN": session_token} if session_token else {**ACCESS}
    if session_token is None:
        del access["AWS_SESSION_TOKEN"]
    keys = Keys(ACCESS["AWS_ACCESS_KEY_ID"], ACCESS["AWS_SECRET_ACCESS_KEY"], session_token)
    ours = token(Cache(kind, "flags-cache"), "größe +/&=", "eu-central-1", keys, moment)
    sent = dict(parse_qsl(urlsplit(f"//{ours}").query))
    assert ours.startswith("flags-cache/?")
    assert sent == dict(parse_qsl(signed_by_aws(sent, moment, access)))
    assert ("ResourceType" in sent) == (kind == "serverlesscache")


HOSTS = {
    "flags-prod-1a2b3c.serverless.euc1.cache.amazonaws.com": ("flags-prod", True),
    "flags-abcdef.serverless.use1.cache.amazonaws.com.": ("flags", True),
    "FLAGS-abcdef.serverless.cnn1.cache.amazonaws.com.cn": ("flags", True),
    "master.my-group.abc123.euc1.cache.amazonaws.com": ("my-group", False),
    "clustercfg.my-group.abc123.use1.cache.amazonaws.com": ("my-group", False),
    "replica.my-group.abc123.use1.cache.amazonaws.com": ("my-group", False),
}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_tells_the_name_of_the_cache(host: str) -> None:
    address = address_of(f"rediss://flags@{host}:6379", "REDIS_URL", ACCESS)
    assert address.token is not None
    signed = address.token()
    assert (signed.partition("/")[0], "ResourceType=ServerlessCache" in signed) == HOSTS[host]
    assert signed.partition("&X-Amz")[0].endswith("User=flags")
    assert "signs" not in repr(address)


HOST = "flags-1a2b3c.serverless.euc1.cache.amazonaws.com"
NO_ENDPOINT = (
    "REDIS_AUTH is 'iam', but REDIS_URL has a host that is not an endpoint of ElastiCache, which would tell the name "
    "of the cache; name it by the option ?iam_cache=serverlesscache:name or ?iam_cache=replicationgroup:name."
)
IMPOSSIBLE = {
    f"redis://flags@{HOST}": (
        "REDIS_AUTH is 'iam', but REDIS_URL does not start with rediss://: ElastiCache takes IAM tokens over TLS only."
    ),
    "unix://flags@/tmp/socket": (
        "REDIS_AUTH is 'iam', but REDIS_URL does not start with rediss://: ElastiCache takes IAM tokens over TLS only."
    ),
    f"rediss://{HOST}": "REDIS_AUTH is 'iam', but REDIS_URL names no user; expected rediss://user@host:port.",
    f"rediss://flags:hunter2@{HOST}": (
        "REDIS_AUTH is 'iam', but REDIS_URL has a password; IAM signs one, so leave it out."
    ),
    "rediss://flags@cache.example.com": NO_ENDPOINT,
    "rediss://flags@flags.abc123.ng.0001.use1.cache.amazonaws.com": NO_ENDPOINT,
    f"rediss://flags@{HOST}?iam_cache=flags": (
        "REDIS_URL has an iam_cache that is not serverlesscache:name or replicationgroup:name."
    ),
}


@pytest.mark.parametrize("url", IMPOSSIBLE)
def test_what_cannot_work_is_refused_by_both_paths_before_a_connection(url: str) -> None:
    for open_store in (
        lambda: RedisReader(url, "flags", PATIENT, iam=ACCESS),
        lambda: RedisWriter(url, "flags", PATIENT, ACCESS),
    ):
        with pytest.raises(ConfigurationError) as refusal:
            open_store()
        assert str(refusal.value) == IMPOSSIBLE[url]


def test_without_a_region_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no region to sign for"):
        address_of(f"rediss://flags@{HOST}", "REDIS_URL", {})


def test_credentials_that_are_not_in_the_environment_are_found_by_aws_sdk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Lambda keeps those of an instance that goes on from an image: AWS's SDK renews them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    address = address_of(f"rediss://flags@{HOST}", "REDIS_URL", {"AWS_REGION": "eu-central-1"})
    assert address.token is not None
    with pytest.raises(ConfigurationError, match="AWS's SDK finds no credentials"):
        address.token()
    credentials.write_text("[default]\naws_access_key_id = AKIAFOUND\naws_secret_access_key = found\n")
    assert "X-Amz-Credential=AKIAFOUND%2F" in address.token()


def test_without_aws_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigurationError, match="nor is there boto3 to look for them elsewhere; install boto3"):
        address_of(f"rediss://flags@{HOST}", "REDIS_URL", {"AWS_REGION": "eu-central-1"})


def test_a_password_still_is_one() -> None:
    assert address_of("rediss://flags:secret@store", "REDIS_URL", None).token is None
    theirs = address_of("redis://:secret@theirs", "BIG_SEGMENTS_REDIS_URL", ACCESS)
    assert (theirs.token, theirs.password) == (None, "secret")
    with pytest.raises(ConfigurationError, match="REDIS_URL has the option iam_cache, but no login by IAM"):
        address_of(f"rediss://flags:secret@store?{CACHE}", "REDIS_URL", None)


def test_iam_without_elasticache_is_refused_as_a_setting() -> None:
    needs = "REDIS_AUTH is 'iam', which needs a REDIS_URL of ElastiCache: rediss://user@host:port."
    for others in ({"DYNAMODB_TABLE": "flags"}, {"REDIS_URL": "embedded"}):
        with pytest.raises(ConfigurationError, match=needs):
            load_settings({"REDIS_AUTH": "iam", **others})
    for others in ({"DYNAMODB_TABLE": "flags"}, {"EVALUATION_MODE": "direct"}):
        elsewhere = {"BIG_SEGMENTS_REDIS_URL": "rediss://flags@store", **others}
        assert load_settings({"REDIS_AUTH": "iam", **elsewhere}).iam_for_redis is not None
    with pytest.raises(ConfigurationError, match="REDIS_AUTH is 'IAM'; expected one of: password, iam"):
        load_settings({"REDIS_AUTH": "IAM", "REDIS_URL": "rediss://flags@store"})


def test_a_user_whom_the_cache_does_not_know_is_refused(cache: ElastiCache, url: str) -> None:
    for reader in (
        RedisReader(url.replace("flags+user", "stranger"), "flags", PATIENT, iam=ACCESS),
        RedisReader(url, "flags", PATIENT, iam={**ACCESS, "AWS_SECRET_ACCESS_KEY": "guess"}),
        RedisReader(url.replace("flags-cache", "other-cache"), "flags", PATIENT, iam=ACCESS),
    ):
        with pytest.raises(StoreUnavailable) as refusal:
            reader.read_sync_record()
        assert str(refusal.value) == REFUSED

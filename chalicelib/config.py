"""The settings of the app: the only reader of the environment.

Everything is validated when :func:`load_settings` runs, not at import, so ``import app`` needs no
environment. Secrets are read later still, by the path that needs them.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import ConfigurationError

VARIABLES = frozenset(
    {
        "LAUNCHDARKLY_SDK_KEY",
        "LAUNCHDARKLY_SDK_KEY_PARAMETER",
        "LAUNCHDARKLY_WEBHOOK_SECRET",
        "LAUNCHDARKLY_WEBHOOK_SECRET_PARAMETER",
        "LAUNCHDARKLY_WEBHOOK_UNSIGNED",
        "LAUNCHDARKLY_ENVIRONMENT",
        "LAUNCHDARKLY_BASE_URI",
        "LAUNCHDARKLY_STREAM_URI",
        "LAUNCHDARKLY_EVENTS_URI",
        "LAUNCHDARKLY_FLAG_FILE",
        "EVALUATION_MODE",
        "REDIS_URL",
        "DYNAMODB_TABLE",
        "STORE_PREFIX",
        "STORE_CACHE_SECONDS",
        "EVALUATE_AUTH",
        "EVALUATE_CLIENT_TOKEN_SHA256",
        "EVALUATE_MAX_BODY_BYTES",
        "EVALUATE_MOBILE_TOKEN_SHA256",
        "EVALUATE_TOKEN_SHA256",
        "CORS_ALLOW_ORIGIN",
        "STATUS_AUTH",
    }
)
"""Every variable that means something here, so that a misspelt one can be told from another's."""

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_ENVIRONMENT_RESOURCE = re.compile(r"proj/([^:;/]+):env/([^:;/]+)")
_HTTP_URI = re.compile(r"https?://[^\s/]\S*")
_FOR_AWS = re.compile(r"AWS_\w+|HTTPS?_PROXY", re.IGNORECASE)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>0|[1-9][0-9]{0,4}))?", re.ASCII
)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Secret:
    """A secret that is named in the environment and read when it is needed.

    ``variable`` holds it directly; ``<variable>_PARAMETER`` names the SSM SecureString that does.
    """

    variable: str
    value: str | None = field(default=None, repr=False)
    parameter: str | None = None

    @property
    def is_configured(self) -> bool:
        return self.value is not None or self.parameter is not None

    def read(self) -> str:
        """The secret. Raises ConfigurationError when it is not configured or cannot be read from SSM."""
        if self.value is not None:
            return self.value
        if self.parameter is None:
            raise ConfigurationError(f"{self.variable} is not set; set it or {self.variable}_PARAMETER.")
        from .secrets import read_parameter  # boto3 is only imported where SSM is used

        return read_parameter(self.parameter, setting=f"{self.variable}_PARAMETER")

    def rotated_from(self, known: str) -> str | None:
        """The secret when SSM holds another one than ``known``, which ``read`` gave; else None.

        SSM is asked at most once a minute. Raises as ``read`` does.
        """
        if self.parameter is None:
            return None
        from .secrets import rotated_parameter

        return rotated_parameter(self.parameter, known, setting=f"{self.variable}_PARAMETER")


@dataclass(frozen=True)
class LaunchDarklyUris:
    """Other LaunchDarkly instances than the default one; None keeps the SDK's own address."""

    base: str | None = None
    stream: str | None = None
    events: str | None = None


@dataclass(frozen=True)
class EnvironmentResource:
    """The LaunchDarkly environment that the store holds, as keys."""

    project: str
    environment: str


@dataclass(frozen=True)
class Settings:
    """Every setting, validated. The README describes each."""

    sdk_key: Secret
    webhook_secret: Secret
    allow_unsigned_webhooks: bool = False
    environment: EnvironmentResource | None = None
    uris: LaunchDarklyUris = LaunchDarklyUris()
    flag_file: str | None = None
    direct_mode: bool = False
    redis_url: str | None = field(default=None, repr=False)
    dynamodb_table: str | None = None
    aws: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What is meant for AWS's SDK: region, credentials, endpoint, proxies. It says what each means."""
    store_prefix: str = "launchdarkly"
    store_cache_seconds: float = 15.0
    evaluate_auth: str = "token"
    token_digests: frozenset[str] = frozenset()
    client_token_digests: frozenset[str] = frozenset()
    mobile_token_digests: frozenset[str] = frozenset()
    max_body_bytes: int = 65_536
    """Of a request for evaluations. It fits any context; what one may hold, the limits in ``read/contexts.py`` say."""
    is_status_closed: bool = False
    """Whether ``/status`` tells what it knows only to whom shows a token."""
    cors_allow_origin: str | None = None

    @property
    def mode(self) -> str:
        return "direct" if self.direct_mode else "daemon"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environment`` (default: the process's). Raises ConfigurationError naming the variable.

    An empty variable counts as unset: Lambda and CloudFormation cannot always leave one out.
    """
    env = {name: value for name, value in (os.environ if environment is None else environment).items() if value}
    direct_mode = _choice(env, "EVALUATION_MODE", ("daemon", "direct"), "daemon") == "direct"
    redis_url, dynamodb_table = _store(env, direct_mode)
    token_digests, client_token_digests, mobile_token_digests = _token_digests(env)
    return Settings(
        sdk_key=_secret(env, "LAUNCHDARKLY_SDK_KEY"),
        webhook_secret=_secret(env, "LAUNCHDARKLY_WEBHOOK_SECRET"),
        allow_unsigned_webhooks=_choice(env, "LAUNCHDARKLY_WEBHOOK_UNSIGNED", ("allow", "refuse"), "refuse") == "allow",
        environment=_environment_resource(env),
        uris=LaunchDarklyUris(
            base=_http_uri(env, "LAUNCHDARKLY_BASE_URI"),
            stream=_http_uri(env, "LAUNCHDARKLY_STREAM_URI"),
            events=_http_uri(env, "LAUNCHDARKLY_EVENTS_URI"),
        ),
        flag_file=env.get("LAUNCHDARKLY_FLAG_FILE"),
        direct_mode=direct_mode,
        redis_url=redis_url,
        dynamodb_table=dynamodb_table,
        aws={name: value for name, value in env.items() if _FOR_AWS.fullmatch(name)},
        store_prefix=env.get("STORE_PREFIX", "launchdarkly"),
        store_cache_seconds=_seconds(env, "STORE_CACHE_SECONDS", 15.0),
        evaluate_auth=_choice(env, "EVALUATE_AUTH", ("token", "iam", "none"), "token"),
        token_digests=token_digests,
        client_token_digests=client_token_digests,
        mobile_token_digests=mobile_token_digests,
        max_body_bytes=_bytes(env, "EVALUATE_MAX_BODY_BYTES", 65_536),
        is_status_closed=_choice(env, "STATUS_AUTH", ("none", "token"), "none") == "token",
        cors_allow_origin=_origin(env, "CORS_ALLOW_ORIGIN"),
    )


def deployment_name(environment: Mapping[str, str] | None = None) -> str | None:
    """``<app>-<stage>``, with which Chalice begins the name of a function; None where this is no Lambda function."""
    function = (os.environ if environment is None else environment).get("AWS_LAMBDA_FUNCTION_NAME")
    return None if function is None else function.removesuffix("-on_event").removesuffix("-reconcile")


def log_level(environment: Mapping[str, str] | None = None) -> str:
    """The level that the function is configured to log from, in the words of Python's logging; INFO by default.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    """
    level = (os.environ if environment is None else environment).get("AWS_LAMBDA_LOG_LEVEL", "INFO").upper()
    named = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    return named if named in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"


def logs_json_frames(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the function is configured for Lambda's JSON log format, in which Lambda itself looks at each line."""
    return (os.environ if environment is None else environment).get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def is_behind_iam(environment: Mapping[str, str] | None = None) -> bool:
    """Whether API Gateway is to check SigV4 signatures for the stage that is being deployed.

    The one setting that is needed when ``app.py`` is imported: the Chalice CLI puts the stage's variables
    into the environment and imports it, and what API Gateway does is decided then.
    """
    return (os.environ if environment is None else environment).get("EVALUATE_AUTH") == "iam"


def _store(env: Mapping[str, str], direct_mode: bool) -> tuple[str | None, str | None]:
    redis_url, table = env.get("REDIS_URL"), env.get("DYNAMODB_TABLE")
    if direct_mode:
        if redis_url or table:
            name = "REDIS_URL" if redis_url else "DYNAMODB_TABLE"
            raise ConfigurationError(f"{name} is set, but EVALUATION_MODE is 'direct', which uses no store; unset one.")
        return None, None
    if redis_url and table:
        raise ConfigurationError("REDIS_URL and DYNAMODB_TABLE are both set; set exactly one of them.")
    if not redis_url and not table:
        raise ConfigurationError("Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode needs exactly one of them.")
    if redis_url and redis_url != "embedded" and not redis_url.startswith(_REDIS_SCHEMES):
        # Not echoed: a URL without a known scheme may still hold a password.
        raise ConfigurationError("REDIS_URL must start with redis://, rediss:// or unix://, or be 'embedded'.")
    return redis_url, table


def _secret(env: Mapping[str, str], variable: str) -> Secret:
    value, parameter = env.get(variable), env.get(f"{variable}_PARAMETER")
    if value and parameter:
        raise ConfigurationError(f"{variable} and {variable}_PARAMETER are both set; set one of them.")
    return Secret(variable, value, parameter)


def _choice(env: Mapping[str, str], variable: str, choices: tuple[str, ...], default: str) -> str:
    value = env.get(variable, default)
    if value not in choices:
        raise ConfigurationError(f"{variable} is {value!r}; expected one of: {', '.join(choices)}.")
    return value


def _environment_resource(env: Mapping[str, str]) -> EnvironmentResource | None:
    value = env.get("LAUNCHDARKLY_ENVIRONMENT")
    if value is None:
        return None
    match = _ENVIRONMENT_RESOURCE.fullmatch(value)
    if match is None:
        raise ConfigurationError(
            f"LAUNCHDARKLY_ENVIRONMENT is {value!r}; expected a LaunchDarkly resource such as "
            "proj/default:env/production."
        )
    return EnvironmentResource(project=match[1], environment=match[2])


def _http_uri(env: Mapping[str, str], variable: str) -> str | None:
    value = env.get(variable)
    if value is not None and not _HTTP_URI.fullmatch(value):
        raise ConfigurationError(f"{variable} is {value!r}; expected a URL that starts with https:// or http://.")
    return value


def _seconds(env: Mapping[str, str], variable: str, default: float) -> float:
    value = env.get(variable)
    if value is None:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ConfigurationError(f"{variable} is {value!r}; expected a number of seconds, 0 or more.")
    return seconds


def _bytes(env: Mapping[str, str], variable: str, default: int) -> int:
    value = env.get(variable, str(default))
    if not re.fullmatch(r"[0-9]{1,7}", value) or not 1_024 <= int(value) <= 1_000_000:
        raise ConfigurationError(f"{variable} is {value!r}; expected a number of bytes from 1024 to 1000000.")
    return int(value)


def _token_digests(env: Mapping[str, str]) -> list[frozenset[str]]:
    """The accepted digests by what their tokens may see: all flags, those for browsers, those for mobile devices."""
    variables = ("EVALUATE_TOKEN_SHA256", "EVALUATE_CLIENT_TOKEN_SHA256", "EVALUATE_MOBILE_TOKEN_SHA256")
    accepted = [_digests(env, variable) for variable in variables]
    for (one, its), (other, others) in itertools.combinations(zip(variables, accepted, strict=True), 2):
        if its & others:
            raise ConfigurationError(f"{one} and {other} hold the same digest; a token is one or the other.")
    return accepted


def _digests(env: Mapping[str, str], variable: str) -> frozenset[str]:
    digests = frozenset(part.strip().lower() for part in env.get(variable, "").split(",") if part.strip())
    for digest in digests:
        if not _SHA256_HEX.fullmatch(digest):
            # Not echoed: the likeliest mistake is to configure the token itself.
            raise ConfigurationError(
                f"{variable} holds an entry that is not a SHA-256 digest; expected 64 hexadecimal digits each, "
                "separated by commas (the digest of a token, never the token)."
            )
    return digests


def _origin(env: Mapping[str, str], variable: str) -> str | None:
    value = env.get(variable)
    if value is not None and value != "*" and not _is_origin(value):
        raise ConfigurationError(f"{variable} is {value!r}; expected one origin such as https://app.example.com, or *.")
    return value


def _is_origin(value: str) -> bool:
    """Whether a browser sends this in ``Origin``: in lower case, without a wildcard, a path or its scheme's own port.

    Source: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
    """
    match = _ORIGIN.fullmatch(value)
    if match is None:
        return False
    port = match["port"]
    return port is None or (int(port) <= 65_535 and port != {"http": "80", "https": "443"}[match["scheme"]])

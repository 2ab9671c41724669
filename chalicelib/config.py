"""The settings of the app: the only reader of the environment. Pure but for that.

Each variable is one row of :class:`Settings`; whatever else is to be known of the variables follows from
the rows. All of them are validated when :func:`load_settings` runs, not at import, so ``import app`` needs
no environment. Secrets are read later still, by the path that needs them.
"""

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, overload

from .errors import ConfigurationError

Value = TypeVar("Value")


class EnvironmentResource(NamedTuple):
    """The LaunchDarkly environment that the store holds, as keys."""

    project: str
    environment: str

    def __str__(self) -> str:
        return f"proj/{self.project}:env/{self.environment}"


class SecretSource(NamedTuple):
    """Where a secret is: in ``variable`` itself, or in the SSM SecureString that ``<variable>_PARAMETER`` names."""

    variable: str
    value: str | None = None
    parameter: str | None = None
    is_key: bool = False
    """Whether it is sent as an HTTP header, which not every character can be part of."""

    @property
    def is_configured(self) -> bool:
        return self.value is not None or self.parameter is not None

    def __repr__(self) -> str:
        return f"SecretSource({self.variable!r}, parameter={self.parameter!r})"


class Variable(Generic[Value]):
    """One row: an environment variable, what is expected of it, and its default. In ``Settings``, its value.

    ``parse`` raises ValueError for what was not expected. What a ``private`` variable holds is shown nowhere.
    ``meaning`` is for those who read or list the rows.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], Value],
        default: Value,
        meaning: str,
        *,
        expected: str = "",
        private: bool = False,
    ) -> None:
        self.name = name
        self.default = default
        self.meaning = meaning
        self.private = private
        self._parse = parse
        self._expected = expected

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, variables: Mapping[str, str]) -> Value:
        """Raises ConfigurationError."""
        text = variables.get(self.name)
        if text is None:
            return self.default
        try:
            return self._parse(text)
        except ValueError:
            # An address may hold a password, in whichever variable it has ended up.
            shown = "malformed (and not shown: it may hold a secret)" if self.private or "@" in text else repr(text)
            raise ConfigurationError(f"{self.name} is {shown}; expected {self._expected}.") from None

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    @overload
    def __get__(self, settings: None, owner: type) -> "Variable[Value]": ...
    @overload
    def __get__(self, settings: "Settings", owner: type) -> Value: ...
    def __get__(self, settings: "Settings | None", owner: type) -> "Variable[Value] | Value":
        if settings is None:
            return self
        value: Value = settings.values[self.attribute]
        return value


class SecretVariable(Variable[SecretSource]):
    """One row for two variables: the secret, or the name of the parameter that holds it."""

    def __init__(self, name: str, meaning: str, *, is_key: bool = False) -> None:
        super().__init__(name, SecretSource, SecretSource(name), meaning, private=True)
        self._is_key = is_key

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_PARAMETER")

    def read(self, variables: Mapping[str, str]) -> SecretSource:
        value, parameter = (variables.get(name) for name in self.names)
        if value and parameter:
            raise ConfigurationError(f"{self.name} and {self.name}_PARAMETER are both set; set one of them.")
        return SecretSource(self.name, value, parameter, self._is_key)


# Parsers. Each raises ValueError.


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        return choices[choices.index(text)]

    return parse


def _prefix(text: str) -> str:
    return "" if text == "none" else text  # Lambda's variables cannot tell an empty one from one that is not set


def _switch(on: str, off: str) -> Callable[[str], bool]:
    def parse(text: str) -> bool:
        return (on, off).index(text) == 0

    return parse


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError
        return text

    return parse


def _seconds(text: str) -> float:
    if not text.isascii() or "_" in text:  # float() also takes 1_0, and the digits of other scripts
        raise ValueError
    seconds = float(text)
    if not 0.0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _environment_resource(text: str) -> EnvironmentResource:
    """One environment: with a wildcard, no webhook would ever be about it."""
    match = re.fullmatch(r"proj/([^:;/*~\s]+):env/([^:;/*~\s]+)", text)
    if match is None:
        raise ValueError
    return EnvironmentResource(project=match[1], environment=match[2])


def _digests(text: str) -> frozenset[str]:
    digests = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests):
        raise ValueError
    return digests


def _bytes(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,7}", text) is None or not 1_024 <= int(text) <= 1_000_000:
        raise ValueError
    return int(text)


def _private_attributes(text: str) -> tuple[str, ...] | None:
    """Attribute references; None for every attribute.

    Source: https://launchdarkly.com/docs/sdk/features/private-attributes
    """
    if text == "all":
        return None
    references = tuple(part.strip() for part in text.split(","))
    for reference in references:
        if not re.fullmatch(r"[^/\s][^,]*|(/([^/~]|~[01])+)+", reference):
            raise ValueError
    return references


def _origin(text: str) -> str:
    """As browsers send it: in lower case, without a wildcard, a path or its scheme's own port.

    Source: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
    """
    if text == "*":
        return text
    match = re.fullmatch(r"(https?)://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(0|[1-9][0-9]{0,4}))?", text)
    if match is None or int(match[2] or 1) > 65_535 or match[2] == {"http": "80", "https": "443"}[match[1]]:
        raise ValueError
    return text


def _http_uri(text: str) -> str:
    """What a path can be added to: without a query or a fragment, and with a host and a port that can be."""
    sign = r"[^\s/?#\\\[\]@:]"
    host = rf"(?:{sign}+|\[(?:{sign}|:)+\])"
    port = r"(?::([0-9]{0,5}))?"  # which may be empty, as in any URL
    match = re.fullmatch(rf"https?://(?:[^\s/?#\\]*@)?{host}{port}(?:/[^\s?#\\]*)?", text)
    if match is None or not 1 <= int(match[1] or 1) <= 65_535:
        raise ValueError
    return text


def _table_name(text: str) -> str:
    """The table's name, or its ARN. No regular expression: each cold function over a table would compile it."""
    name = text.rpartition(":table/")[2] if text.startswith("arn:") else text
    letters_and_digits = name.replace("-", "").replace("_", "").replace(".", "")
    if len(name) > 255 or not (letters_and_digits.isascii() and letters_and_digits.isalnum()):
        raise ValueError
    return text


_A_TABLE_NAME = "the name of a DynamoDB table: at most 255 letters, digits, hyphens, dots and underscores"
_AN_HTTP_URI = "a URL that starts with https:// or http://, without a query, and with a port up to 65535 if with any"
_DIGESTS = "SHA-256 digests of 64 hexadecimal digits each, separated by commas (the digest of a token, never the token)"
_NO_DIGESTS: frozenset[str] = frozenset()
_NO_ATTRIBUTES: tuple[str, ...] | None = ()


class Settings:
    """Every setting, validated. docs/settings.md says more of each."""

    __slots__ = ("aws", "proxies", "values")

    sdk_key = SecretVariable("LAUNCHDARKLY_SDK_KEY", "Server-side SDK key: for refreshes and direct mode.", is_key=True)
    webhook_secret = SecretVariable("LAUNCHDARKLY_WEBHOOK_SECRET", "Signs webhooks; without it, each is refused.")
    allow_unsigned_webhooks = Variable(
        "LAUNCHDARKLY_WEBHOOK_UNSIGNED",
        _switch("allow", "refuse"),
        False,
        "Whether unsigned webhooks are accepted: for development.",
        expected="one of: allow, refuse",
    )
    environment = Variable(
        "LAUNCHDARKLY_ENVIRONMENT",
        _environment_resource,
        None,
        "The environment in the store: webhooks about others are ignored.",
        expected="a LaunchDarkly resource such as proj/default:env/production",
    )
    base_uri = Variable(
        "LAUNCHDARKLY_BASE_URI", _http_uri, None, "Another LaunchDarkly, in direct mode.", expected=_AN_HTTP_URI
    )
    stream_uri = Variable(
        "LAUNCHDARKLY_STREAM_URI",
        _http_uri,
        None,
        "Another LaunchDarkly to stream from, or a Relay Proxy.",
        expected=_AN_HTTP_URI,
    )
    events_uri = Variable(
        "LAUNCHDARKLY_EVENTS_URI",
        _http_uri,
        None,
        "Another LaunchDarkly to send events to.",
        expected=_AN_HTTP_URI,
    )
    flag_file = Variable("LAUNCHDARKLY_FLAG_FILE", str, None, "Where the data set is read from instead.")
    mode = Variable(
        "EVALUATION_MODE",
        _choice("daemon", "direct"),
        "daemon",
        "Whether evaluations read the store or the SDK streams by itself.",
        expected="one of: daemon, direct",
    )
    redis_url = Variable(
        "REDIS_URL",
        _matching(r"(redis|rediss|unix)://.*|embedded"),
        None,
        "The store, unless it is a table.",
        expected="a URL that starts with redis://, rediss:// or unix://, or 'embedded'",
        private=True,
    )
    redis_auth = Variable(
        "REDIS_AUTH",
        _choice("password", "iam"),
        "password",
        "How Redis is logged in to: by what its URL says, or as the URL's user by IAM, in ElastiCache.",
        expected="one of: password, iam",
    )
    dynamodb_table = Variable(
        "DYNAMODB_TABLE",
        _table_name,
        None,
        "The store, unless it is Redis: the name of a table.",
        expected=_A_TABLE_NAME,
    )
    store_prefix = Variable(
        "STORE_PREFIX",
        _prefix,
        "launchdarkly",
        "What every key in the store begins with; none is how LaunchDarkly's SDKs name them if not told otherwise.",
    )
    store_cache_seconds = Variable(
        "STORE_CACHE_SECONDS",
        _seconds,
        15.0,
        "How long a data set that others wrote is taken for current.",
        expected="a number of seconds, 0 or more",
    )
    big_segments_redis_url = Variable(
        "BIG_SEGMENTS_REDIS_URL",
        _matching(r"(redis|rediss|unix)://.*"),
        None,
        "Where the memberships of big segments are, if not in the flag store.",
        expected="a URL that starts with redis://, rediss:// or unix://",
        private=True,
    )
    big_segments_table = Variable(
        "BIG_SEGMENTS_TABLE",
        _table_name,
        None,
        "The same, where they are in DynamoDB: the name of a table.",
        expected=_A_TABLE_NAME,
    )
    big_segments_prefix = Variable(
        "BIG_SEGMENTS_PREFIX", _prefix, None, "What their keys begin with, if not with STORE_PREFIX; none as there."
    )
    big_segments_cache_seconds = Variable(
        "BIG_SEGMENTS_CACHE_SECONDS",
        _seconds,
        5.0,
        "How long the memberships of a context are taken for current.",
        expected="a number of seconds, 0 or more",
    )
    flags_max_age_seconds = Variable(
        "FLAGS_MAX_AGE_SECONDS",
        _seconds,
        1.0,
        "How old an answer of `flags` in a function of your own may be.",
        expected="a number of seconds, 0 or more",
    )
    evaluate_auth = Variable(
        "EVALUATE_AUTH",
        _choice("token", "iam", "none"),
        "token",
        "Who may evaluate.",
        expected="one of: token, iam, none",
    )
    token_digests = Variable(
        "EVALUATE_TOKEN_SHA256",
        _digests,
        _NO_DIGESTS,
        "Of tokens that see every flag.",
        expected=_DIGESTS,
        private=True,
    )
    client_token_digests = Variable(
        "EVALUATE_CLIENT_TOKEN_SHA256",
        _digests,
        _NO_DIGESTS,
        "Of tokens that see only client-side flags.",
        expected=_DIGESTS,
        private=True,
    )
    mobile_token_digests = Variable(
        "EVALUATE_MOBILE_TOKEN_SHA256",
        _digests,
        _NO_DIGESTS,
        "Of tokens that see only flags for mobile devices.",
        expected=_DIGESTS,
        private=True,
    )
    client_side_id = Variable(
        "LAUNCHDARKLY_CLIENT_SIDE_ID",
        _matching(r"(?!sdk-|mob-|api-)[A-Za-z0-9._~-]{1,64}"),
        None,
        "What LaunchDarkly's browser SDKs name the environment by; without it, they are not served.",
        expected="the client-side ID of a LaunchDarkly environment, letters and digits, and none of its keys",
        private=True,
    )
    mobile_key_digests = Variable(
        "LAUNCHDARKLY_MOBILE_KEY_SHA256",
        _digests,
        _NO_DIGESTS,
        "Of the mobile keys that LaunchDarkly's mobile SDKs send; without one, they are not served.",
        expected=_DIGESTS,
        private=True,
    )
    is_secure_mode = Variable(
        "LAUNCHDARKLY_SECURE_MODE",
        _switch("on", "off"),
        False,
        "Whether browser SDKs have to send a hash of the context's key, made with the SDK key.",
        expected="one of: on, off",
    )
    max_body_bytes = Variable(
        "EVALUATE_MAX_BODY_BYTES",
        _bytes,
        65_536,
        "The largest body of a request for evaluations.",
        expected="a number of bytes from 1024 to 1000000",
    )
    events_mode = Variable(
        "EVENTS",
        _choice("off", "summary", "full"),
        None,
        "What LaunchDarkly is told of evaluations; unless it says so, only the SDK of direct mode tells anything.",
        expected="one of: off, summary, full",
    )
    events_flush_seconds = Variable(
        "EVENTS_FLUSH_SECONDS",
        _seconds,
        10.0,
        "How long events are gathered before an invocation leaves them in the store.",
        expected="a number of seconds, 0 or more",
    )
    events_private_attributes = Variable(
        "EVENTS_PRIVATE_ATTRIBUTES",
        _private_attributes,
        _NO_ATTRIBUTES,
        "What no event holds of any context, beside what a context itself calls private.",
        expected="attribute references, separated by commas, or all",
    )
    events_omit_anonymous = Variable(
        "EVENTS_OMIT_ANONYMOUS",
        _switch("on", "off"),
        False,
        "Whether anonymous contexts are left out of index events.",
        expected="one of: on, off",
    )
    track_accepts_client_tokens = Variable(
        "TRACK_CLIENT_TOKENS",
        _switch("allow", "refuse"),
        False,
        "Whether tokens of browsers and mobile devices may send custom events.",
        expected="one of: allow, refuse",
    )
    is_status_closed = Variable(
        "STATUS_AUTH",
        _switch("token", "none"),
        False,
        "Whether /status tells what it knows only to a token.",
        expected="one of: none, token",
    )
    cors_allow_origin = Variable(
        "CORS_ALLOW_ORIGIN",
        _origin,
        None,
        "Whose pages may evaluate from a browser.",
        expected="one origin such as https://app.example.com, or *",
    )

    has_explorer = Variable(
        "EXPLORER",
        _switch("on", "off"),
        False,
        "Whether GET / serves the explorer page.",
        expected="one of: on, off",
    )
    is_local = Variable(
        "LOCAL_STAGE",
        _switch("on", "off"),
        False,
        "For development: what is not set is an embedded store, the example flags, and open to everybody.",
        expected="one of: on, off",
    )

    def __init__(self, values: Mapping[str, Any], aws: Mapping[str, str], proxies: Mapping[str, str]) -> None:
        self.values = values
        """By attribute (``Any``: each row has its type)."""
        self.aws = aws
        """What is meant for AWS's SDK: region, credentials, endpoint, proxies. It says what each means."""
        self.proxies = proxies
        """``http_proxy``, ``https_proxy``, ``no_proxy``: what LaunchDarkly's SDK looks at, and none in capitals."""

    @property
    def direct_mode(self) -> bool:
        return self.mode == "direct"

    @property
    def accepts_no_token(self) -> bool:
        """Whether callers need a token, and there is none that would be accepted."""
        return self.evaluate_auth == "token" and not any(self.values[row.attribute] for row in DIGEST_ROWS)

    @property
    def records_events(self) -> bool:
        """Whether what is evaluated from the store is gathered for LaunchDarkly."""
        return not self.direct_mode and self.events_mode in ("summary", "full")

    @property
    def sdk_sends_events(self) -> bool:
        """Whether the client of direct mode tells LaunchDarkly what it evaluates; from a file it tells nobody."""
        return self.events_mode != "off" and self.flag_file is None

    @property
    def has_big_segments(self) -> bool:
        """Whether there is a store that may hold memberships: the flag store, if no other one is named."""
        return bool(self.big_segments_redis_url or self.big_segments_table or not self.direct_mode)

    @property
    def iam_for_redis(self) -> Mapping[str, str] | None:
        """What is known of AWS where IAM logs in to Redis; None where it does not."""
        return self.aws if self.redis_auth == "iam" else None

    def __repr__(self) -> str:
        shown = (f"{row.attribute}={row.__get__(self, Settings)!r}" for row in ROWS if not row.private)
        return f"Settings({', '.join(shown)})"


ROWS: tuple[Variable[Any], ...] = tuple(row for row in vars(Settings).values() if isinstance(row, Variable))

VARIABLES = frozenset(name for row in ROWS for name in row.names)
"""Every variable that means something here, so that a misspelt one can be told from another's."""

_API = "app.app"
"""The handler of the function that has all routes, as Chalice names it."""

_FOR_LAUNCHDARKLY = ("http_proxy", "https_proxy", "no_proxy")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environment`` (default: the process's). Raises ConfigurationError naming the variable.

    White space around a value is no part of it. An empty variable counts as unset: Lambda and
    CloudFormation cannot always leave one out.
    """
    stripped = {name: text.strip() for name, text in (os.environ if environment is None else environment).items()}
    variables = {name: text for name, text in stripped.items() if text}
    if Settings.is_local.read(variables):
        variables = {**_local_defaults(variables), **variables}
    settings = Settings(
        values={row.attribute: row.read(variables) for row in ROWS},
        aws={name: text for name, text in variables.items() if _is_for_aws(name.upper())},
        proxies={name: variables[name] for name in _FOR_LAUNCHDARKLY if name in variables},
    )
    _check_store(settings)
    _check_redis_auth(settings)
    _check_big_segments(settings)
    _check_digests(settings)
    if settings.has_explorer and settings.evaluate_auth == "iam":
        raise ConfigurationError("EXPLORER is 'on', but EVALUATE_AUTH is 'iam': a page cannot sign its requests.")
    if settings.direct_mode and settings.events_mode == "summary":
        raise ConfigurationError(
            "EVENTS is 'summary', but in direct mode the SDK sends all; expected one of: off, full."
        )
    _check_secure_mode(settings)
    return settings


def _is_for_aws(name: str) -> bool:
    return name.startswith("AWS_") or name in ("HTTP_PROXY", "HTTPS_PROXY")


EXAMPLE_FLAG_FILE = "examples/flags.json"


def _local_defaults(variables: Mapping[str, str]) -> dict[str, str]:
    """What the local stage adds to the variables that are set. Raises ConfigurationError on Lambda.

    They are no variables of .chalice/config.json, which would win over those of the shell. What somebody has set
    says what is meant: a store of one's own is not filled with examples, and a token is asked for where one is known.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" in variables:
        raise ConfigurationError("LOCAL_STAGE is 'on', which is for development; expected: off, or not set, on Lambda.")
    defaults = {"LAUNCHDARKLY_WEBHOOK_UNSIGNED": "allow"}
    has_own_store = variables.get("REDIS_URL", "embedded") != "embedded" or "DYNAMODB_TABLE" in variables
    if not has_own_store and variables.get("EVALUATION_MODE") != "direct":
        defaults["REDIS_URL"] = "embedded"
    if not has_own_store and variables.keys().isdisjoint(_SOURCES):
        defaults["LAUNCHDARKLY_FLAG_FILE"] = EXAMPLE_FLAG_FILE
    if not any(row.name in variables for row in DIGEST_ROWS):
        defaults["EVALUATE_AUTH"] = "none"
    if variables.get("EVALUATE_AUTH") != "iam":
        defaults["EXPLORER"] = "on"
    return defaults


_SOURCES = {*Settings.sdk_key.names, Settings.flag_file.name}

DIGEST_ROWS = (Settings.token_digests, Settings.client_token_digests, Settings.mobile_token_digests)


def _check_store(settings: Settings) -> None:
    """Exactly one in daemon mode, none in direct mode."""
    if settings.direct_mode:
        if settings.redis_url or settings.dynamodb_table:
            name = "REDIS_URL" if settings.redis_url else "DYNAMODB_TABLE"
            raise ConfigurationError(f"{name} is set, but EVALUATION_MODE is 'direct', which uses no store; unset one.")
    elif settings.redis_url and settings.dynamodb_table:
        raise ConfigurationError("REDIS_URL and DYNAMODB_TABLE are both set; set exactly one of them.")
    elif not settings.redis_url and not settings.dynamodb_table:
        raise ConfigurationError("Neither REDIS_URL nor DYNAMODB_TABLE is set; daemon mode needs exactly one of them.")


def _check_redis_auth(settings: Settings) -> None:
    urls = {settings.redis_url, settings.big_segments_redis_url}
    if settings.redis_auth == "iam" and ("embedded" in urls or urls == {None}):
        raise ConfigurationError(
            "REDIS_AUTH is 'iam', which needs a REDIS_URL of ElastiCache: rediss://user@host:port."
        )


def _check_big_segments(settings: Settings) -> None:
    """At most one store, and no prefix where there is none."""
    if settings.big_segments_redis_url and settings.big_segments_table:
        raise ConfigurationError("BIG_SEGMENTS_REDIS_URL and BIG_SEGMENTS_TABLE are both set; set at most one of them.")
    if settings.big_segments_prefix is not None and not settings.has_big_segments:
        raise ConfigurationError(
            "BIG_SEGMENTS_PREFIX is set, but EVALUATION_MODE is 'direct', which has no flag store; set "
            "BIG_SEGMENTS_REDIS_URL or BIG_SEGMENTS_TABLE as well, or unset it."
        )


def _check_digests(settings: Settings) -> None:
    for one, other in itertools.combinations(DIGEST_ROWS, 2):
        if settings.values[one.attribute] & settings.values[other.attribute]:
            raise ConfigurationError(f"{one.name} and {other.name} hold the same digest; a token is one or the other.")


def missing_for_chalice_local(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str | None:
    """What `chalice local` lacks when it is started for a stage that is meant for AWS; None where nothing is.

    ``arguments`` are those of the Chalice CLI, which calls that stage "dev" unless it is told otherwise.
    """
    variables = os.environ if environment is None else environment
    if "AWS_CHALICE_CLI_MODE" not in variables or "local" not in arguments:
        return None
    try:
        settings = load_settings(variables)
    except ConfigurationError as error:
        return str(error)
    return "EVALUATE_TOKEN_SHA256 is empty, so every evaluation is refused." if settings.accepts_no_token else None


def _check_secure_mode(settings: Settings) -> None:
    if settings.is_secure_mode and not settings.sdk_key.is_configured:
        raise ConfigurationError(
            "LAUNCHDARKLY_SECURE_MODE is 'on', which compares with hashes that are made with the SDK key; set "
            "LAUNCHDARKLY_SDK_KEY or LAUNCHDARKLY_SDK_KEY_PARAMETER."
        )


def deployment_name(environment: Mapping[str, str] | None = None) -> str | None:
    """``<app>-<stage>``, with which Chalice begins the name of each function, also of those that users have added.

    None where this is no Lambda function. Where this package is part of another function, that function's name.
    """
    variables = os.environ if environment is None else environment
    function = variables.get("AWS_LAMBDA_FUNCTION_NAME")
    # The API's function has no name of its own. The others' have no dash in theirs, which Chalice forbids.
    if function is None or variables.get("_HANDLER", _API) == _API or not __name__.startswith("chalicelib."):
        return function
    return function.rpartition("-")[0] or function


def evaluates_on_lambda() -> bool:
    """Whether this process is a Lambda function of the app whose events want flags, and not a refresh."""
    return os.environ.get("_HANDLER") in (_API, "app.on_event") and is_on_lambda()


def is_on_lambda() -> bool:
    """Whether this process is a Lambda function, of whatever app."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def is_to_be_restored() -> bool:
    """Whether Lambda keeps an image of this process before its first event, and goes on from copies (SnapStart)."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def log_level() -> str:
    """The level that the function is configured to log from, in the words of Python's logging; INFO by default.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    """
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO").upper()
    named = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    return named if named in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"


def logs_json_frames() -> bool:
    """Whether the function is configured for Lambda's JSON log format, in which Lambda itself looks at each line."""
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def is_behind_iam(environment: Mapping[str, str] | None = None) -> bool:
    """Whether API Gateway is to check SigV4 signatures for the stage that is being deployed.

    The one setting that is needed when ``app.py`` is imported: the Chalice CLI puts the stage's variables
    into the environment and imports it, and what API Gateway does is decided then.
    """
    variables = os.environ if environment is None else environment
    return variables.get(Settings.evaluate_auth.name, "").strip() == "iam"

"""What can be a secret, and what is said when it is not. Parameter Store itself: tests/http/test_secrets.py."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid

import pytest

from chalicelib.config import SecretSource, load_settings
from chalicelib.errors import ConfigurationError
from chalicelib.secrets import read_secret, rotated_secret
from chalicelib.timing import Timing
from tests.support.aws import Aws
from tests.support.data import PROJECT

VALUE = "hunter2"
KEY, TEXT = "LAUNCHDARKLY_SDK_KEY", "LAUNCHDARKLY_WEBHOOK_SECRET"
NO_KEY = "holds no SDK key; expected ASCII characters without a space."
NO_TEXT = "holds no secret; expected one line of text."

# Variable, what it holds, what is read of it.
GOOD = [
    (KEY, "sdk-1", "sdk-1"),
    (KEY, "  sdk-1\n", "sdk-1"),
    (TEXT, "a secret of größe", "a secret of größe"),
    (TEXT, "\t s3cret\r\n", "s3cret"),
]
# Variable, what it holds, what is said.
BAD = [
    (KEY, f"{VALUE} {VALUE}", NO_KEY),
    (KEY, f"{VALUE}\n{VALUE}", NO_KEY),
    (KEY, f"{VALUE}\x00", NO_KEY),
    (KEY, f"{VALUE}ü", NO_KEY),
    (KEY, f"{VALUE}\u00a0{VALUE}", NO_KEY),
    (TEXT, f"{VALUE}\n{VALUE}", NO_TEXT),
    (TEXT, f"{VALUE}\x7f", NO_TEXT),
]


@pytest.fixture
def parameter() -> str:
    return f"/{uuid.uuid4()}/secret"


def from_environment(variable: str, value: str) -> SecretSource:
    settings = load_settings({"REDIS_URL": "embedded", variable: value})
    return settings.sdk_key if variable.startswith(KEY) else settings.webhook_secret


@pytest.mark.parametrize(("variable", "held", "read"), GOOD)
def test_white_space_around_a_secret_is_no_part_of_it(
    aws: Aws, parameter: str, variable: str, held: str, read: str
) -> None:
    assert read_secret(from_environment(variable, held)) == read
    aws.put_secret(parameter, held)
    assert read_secret(from_environment(f"{variable}_PARAMETER", parameter)) == read


@pytest.mark.parametrize(("variable", "held", "said"), BAD)
def test_what_cannot_be_a_secret_is_an_error_that_does_not_hold_it(
    aws: Aws, parameter: str, variable: str, held: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_secret(from_environment(variable, held))
    assert str(raised.value) == f"{variable} {said}"
    aws.put_secret(parameter, held)
    with pytest.raises(ConfigurationError) as raised:
        read_secret(from_environment(f"{variable}_PARAMETER", parameter))
    assert str(raised.value) == f"{variable}_PARAMETER names {parameter!r}, which {said}"
    assert VALUE not in str(raised.value)


def test_a_parameter_of_white_space_is_no_key(aws: Aws, parameter: str) -> None:
    aws.put_secret(parameter, " \n")
    with pytest.raises(ConfigurationError, match="holds no SDK key"):
        read_secret(from_environment(f"{KEY}_PARAMETER", parameter))


def test_a_secret_is_missed_where_it_is_needed_and_not_before() -> None:
    source = load_settings({"REDIS_URL": "embedded"}).sdk_key
    assert not source.is_configured
    with pytest.raises(ConfigurationError) as raised:
        read_secret(source)
    assert str(raised.value) == "LAUNCHDARKLY_SDK_KEY is not set; set it or LAUNCHDARKLY_SDK_KEY_PARAMETER."
    assert rotated_secret(source, "anything") is None


AGED = Timing(secret_age_seconds=0.0, secret_again_seconds=0.0)


def test_an_old_secret_is_read_again(aws: Aws, parameter: str) -> None:
    source = from_environment(f"{TEXT}_PARAMETER", parameter)
    aws.put_secret(parameter, "old")
    assert read_secret(source) == "old"
    aws.put_secret(parameter, "new")
    assert read_secret(source) == "old"
    assert read_secret(source, AGED) == "new"


def test_an_old_secret_goes_on_while_its_parameter_cannot_be_read(
    aws: Aws, parameter: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = from_environment(f"{TEXT}_PARAMETER", parameter)
    aws.put_secret(parameter, VALUE)
    read_secret(source)
    aws.client("ssm").delete_parameter(Name=parameter)
    assert read_secret(source, AGED) == VALUE
    assert parameter in caplog.text
    assert VALUE not in caplog.text
    # For a minute nobody asks again.
    aws.put_secret(parameter, "new")
    assert read_secret(source) == VALUE


@pytest.mark.parametrize("seconds", [-3600, 700], ids=["set back", "gone on while the function was frozen"])
def test_age_is_told_by_the_clock_on_the_wall(
    aws: Aws, parameter: str, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Nothing but a patch sets the clock of one process."""
    source = from_environment(f"{TEXT}_PARAMETER", parameter)
    aws.put_secret(parameter, "old")
    assert read_secret(source) == "old"
    aws.put_secret(parameter, "new")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    assert read_secret(source) == "new"


def test_a_rotation_is_looked_for_once_in_a_while(aws: Aws, parameter: str) -> None:
    source = from_environment(f"{TEXT}_PARAMETER", parameter)
    aws.put_secret(parameter, "first")
    assert read_secret(source) == "first"
    assert rotated_secret(source, "first") is None
    aws.put_secret(parameter, "second")
    assert rotated_secret(source, "first") is None
    assert rotated_secret(source, "first", AGED) == "second"
    assert rotated_secret(source, "first") == "second"
    assert read_secret(source) == "second"


def test_a_look_that_fails_is_a_look(aws: Aws, parameter: str) -> None:
    """Forged signatures must not become calls to a Parameter Store that is out of reach."""
    source = from_environment(f"{TEXT}_PARAMETER", parameter)
    aws.put_secret(parameter, "first")
    read_secret(source)
    aws.client("ssm").delete_parameter(Name=parameter)
    with pytest.raises(ConfigurationError, match="no such parameter"):
        rotated_secret(source, "first")
    assert rotated_secret(source, "first") is None


PROGRAM = """
import sys
import chalicelib.config, chalicelib.secrets
print(sorted({"boto3", "botocore", "dataclasses"} & set(sys.modules)))
"""


def test_boto3_and_dataclasses_wait_until_somebody_needs_them() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"

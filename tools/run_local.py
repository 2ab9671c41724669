"""`make run`: `chalice local` for the stage "local", filled before it is asked, and quiet when it ends.

What the shell sets wins over `.chalice/config.json`, where Chalice itself would have it the other way round. The
source and the store that are in use are said, and what to try. With an SDK key, a reconcile every minute stands in
for the webhook that cannot reach a laptop. Everything slow is imported after the first words.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from chalicelib.config import EXAMPLE_FLAG_FILE, VARIABLES, Settings, load_settings
from chalicelib.errors import (
    FlagsError,
    LaunchDarklyUnavailable,
    SdkKeyRejected,
    StoreNotInitialized,
)

if TYPE_CHECKING:
    from chalicelib.wiring import Wiring

PROJECT = Path(__file__).resolve().parent.parent
STAGE = "local"
RECONCILE_SECONDS = 60.0
_REFRESH_SECONDS = 60.0
"""As long as the function `reconcile` has on Lambda."""


_NO_SOURCE = (
    "Source: none is set, so the store is used as it is. LAUNCHDARKLY_SDK_KEY or LAUNCHDARKLY_FLAG_FILE sets one."
)


class CannotStart(Exception):
    """The message says what is in the way, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_local", description="Serve the app on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args(arguments)
    try:
        _serve(options.host, options.port)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


def _serve(host: str, port: int) -> None:
    if not 1 <= port <= 65_535:
        raise CannotStart(f"There is no port {port}; choose one from 1 to 65535: make run PORT=8001")
    print("Starting; this takes a few seconds.", flush=True)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")  # as `chalice local` does
    _set_environment()
    try:
        settings = load_settings()
        print(_store_line(settings), flush=True)
        if not settings.direct_mode and not _has_source(settings):
            _take_examples_for_an_empty_store()
        app, server = _make_server(host, port)
        said = _fill(app.wiring)
    except FlagsError as error:
        raise CannotStart(str(error)) from None
    url = f"http://{host}:{port}/"
    print("\n".join([*said, *_what_to_try(app.wiring, url)]), flush=True)
    if app.wiring.source == "launchdarkly" and _has_source(app.wiring.settings) and not app.wiring.settings.direct_mode:
        threading.Thread(target=reconcile_forever, args=(app.wiring, threading.Event()), daemon=True).start()
    server.serve_forever()


def _set_environment() -> None:
    """The stage's variables, and over them the shell's."""
    from chalice.cli.factory import CLIFactory
    from chalice.config import Config

    config: Config = CLIFactory(str(PROJECT)).create_config_obj(chalice_stage_name=STAGE)
    for name, value in config.environment_variables.items():
        if name not in VARIABLES or not os.environ.get(name, "").strip():
            os.environ[name] = value


def _make_server(host: str, port: int) -> tuple[Any, Any]:
    """The module `app`, and Chalice's server of it, which listens already (both untyped)."""
    from chalice.cli.factory import CLIFactory
    from chalice.deploy.validate import validate_routes

    factory = CLIFactory(str(PROJECT))
    chalice_app = factory.load_chalice_app()
    validate_routes(chalice_app.routes)
    try:
        server = factory.create_local_server(chalice_app, factory.create_config_obj(STAGE), host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(f"Port {port} is in use; choose another one: make run PORT={port + 1}") from None
        raise CannotStart(f"{host}:{port} cannot be served: {error.strerror}.") from None
    return sys.modules["app"], server


def _has_source(settings: Settings) -> bool:
    return settings.flag_file is not None or settings.sdk_key.is_configured


def _take_examples_for_an_empty_store() -> None:
    """A store of one's own is used as it is. One that was never filled gets the example flags."""
    from chalicelib.wiring import Wiring

    wiring = Wiring()
    try:
        wiring.snapshots.current()
    except StoreNotInitialized:
        os.environ[Settings.flag_file.name] = EXAMPLE_FLAG_FILE
    finally:
        wiring.reader.close()


def _fill(wiring: Wiring) -> list[str]:
    """What there is to say of the source and the store, once the store is filled. Raises FlagsError."""
    settings = wiring.settings
    if settings.direct_mode:
        print(f"Connecting to {_source_name(settings)}.", flush=True)
        _ = wiring.direct_flags
        return [f"Source: {_source_name(settings)}."]
    if not _has_source(settings):
        return [_NO_SOURCE, _data_line(wiring)]
    print(f"Filling the store from {_source_name(settings)}.", flush=True)
    try:
        if settings.redis_url == "embedded":
            _ = wiring.reader  # which fills it
        else:
            wiring.reconciler(_REFRESH_SECONDS).reconcile(force=False)
    except SdkKeyRejected:
        raise
    except LaunchDarklyUnavailable as error:
        if settings.flag_file is not None:
            raise
        return [f"Source: {_source_name(settings)}, asked every minute. Not filled yet: {error}"]
    every = "" if settings.flag_file is not None else ", asked again every minute"
    return [f"Source: {_source_name(settings)}{every}.", _data_line(wiring)]


def _source_name(settings: Settings) -> str:
    if settings.flag_file is not None:
        return settings.flag_file
    where = urlsplit(settings.stream_uri or "https://stream.launchdarkly.com").hostname
    return f"LaunchDarkly ({where})"


def _store_line(settings: Settings) -> str:
    if settings.direct_mode:
        return "Store: none, because EVALUATION_MODE is 'direct'."
    if settings.dynamodb_table is not None:
        return f"Store: the DynamoDB table {settings.dynamodb_table}."
    if settings.redis_url == "embedded":
        return "Store: an embedded Valkey, which ends with this program."
    from chalicelib.stores.redis.address import parse_address

    address = parse_address(settings.redis_url or "")
    return f"Store: Redis at {address.path or f'{address.host}:{address.port}'}."


def _data_line(wiring: Wiring) -> str:
    from chalicelib.launchdarkly.sdk import FEATURES, SEGMENTS

    snapshot = wiring.snapshots.current()
    flags, segments = (snapshot.feature_store.count(kind) for kind in (FEATURES, SEGMENTS))
    by = "filled by another writer" if snapshot.record is None else f"refreshed at {snapshot.record.synced_at}"
    return f"Data: {flags} flags and {segments} segments, {by}, revision {snapshot.revision}."


def _what_to_try(wiring: Wiring, url: str) -> list[str]:
    settings = wiring.settings
    refused = _why_all_are_refused(settings)
    if refused is not None:
        lines = [f"Every evaluation is refused: {refused}", "Try:", f"  curl -s {url}status"]
    else:
        lines = ["Try:", *_evaluations_to_try(wiring, url)]
    if settings.flag_file is not None and not settings.direct_mode:
        webhook = f"curl -s {url}webhook -H 'Content-Type: application/json' -d '{{\"kind\": \"flag\"}}'"
        lines.append(f"  edit {settings.flag_file}, then: {webhook}")
    lines.append("Ctrl-C ends it.")
    return lines


def _why_all_are_refused(settings: Settings) -> str | None:
    """And what to set instead; None where some caller may evaluate."""
    if settings.evaluate_auth == "iam":
        return "EVALUATE_AUTH is 'iam', and nobody checks signatures here. Leave it unset, or set it to none."
    if settings.accepts_no_token:
        return (
            "EVALUATE_AUTH is 'token', and there is no digest of a token. make token prints a token and its digest; "
            "then: EVALUATE_TOKEN_SHA256=<digest> make run"
        )
    return None


_USER = '{"key": "anna", "email": "anna@example.com"}'


def _evaluations_to_try(wiring: Wiring, url: str) -> Iterator[str]:
    if wiring.settings.has_explorer:
        yield f"  {url}  in a browser: every flag, and why it has its value"
    token = "" if wiring.settings.evaluate_auth == "none" else " -H 'Authorization: Bearer <token>'"
    post = f"-H 'Content-Type: application/json'{token} -d"
    yield f"  curl -s {url}evaluate/{_some_flag(wiring)} {post} '{_USER}'"


def _some_flag(wiring: Wiring) -> str:
    """The first one that there is, percent-encoded."""
    from chalicelib.launchdarkly.sdk import FEATURES

    try:
        flags = wiring.current_flags().feature_store.all(FEATURES)
    except FlagsError:
        flags = {}
    return quote(next(iter(flags), "my-flag"), safe="")


def reconcile_forever(wiring: Wiring, stop: threading.Event, seconds: float = RECONCILE_SECONDS) -> None:
    """Every minute until ``stop``. Says what has changed and what has failed, and nothing else."""
    while not stop.wait(seconds):
        try:
            outcome = wiring.reconciler(_REFRESH_SECONDS).reconcile(force=False)
        except FlagsError as error:
            print(f"Not refreshed: {error}", flush=True)
        else:
            if outcome.changed:
                print(f"Refreshed: {outcome.flags} flags, revision {outcome.revision}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""The SDK's event stream, for a fetch that lasts seconds: it ends when it is told to, and says what failed.

Built on a class that the SDK (9.18, pinned) keeps to itself, because no public setting does either.
"""

from __future__ import annotations

import json
from threading import Event as ThreadEvent
from typing import Any

from ld_eventsource import SSEClient
from ld_eventsource.actions import Event
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ldclient.config import Config
from ldclient.impl.datasource.streaming import StreamingUpdateProcessor
from ldclient.impl.http import _http_factory
from ldclient.interfaces import FeatureStore

_CLOSE_SECONDS = 0.05


class FetchStream(StreamingUpdateProcessor):
    """Reads with the time-outs of ``Config.http``; the SDK's own stream waits five minutes for every byte."""

    def __init__(self, config: Config, store: FeatureStore, ready: ThreadEvent) -> None:
        super().__init__(config, store, ready, None)

    def stop(self) -> None:
        """Return when the thread and its connection are gone, at most one read time-out later.

        The SDK's own ``stop`` forgets a connection attempt that is under way: should LaunchDarkly still
        answer, thread and socket stay for as long as the process does.
        """
        super().stop()  # type: ignore[no-untyped-call]
        while self.is_alive():
            if self._sse is not None:
                self._sse.close()
            self.join(_CLOSE_SECONDS)

    def _create_sse_client(self) -> SSEClient:
        http = _http_factory(self._config)
        return SSEClient(
            connect=ConnectStrategy.http(
                url=self._uri,
                headers=http.base_headers,
                pool=http.create_pool_manager(1, self._uri),
                urllib3_request_options={"timeout": http.timeout},
            ),
            # The SDK's thread decides what to do about an error, and how long to wait.
            error_strategy=ErrorStrategy.always_continue(),
            initial_retry_delay=0,
            retry_delay_strategy=RetryDelayStrategy(),
            retry_delay_reset_threshold=0,
        )

    def _process_message(self, store: Any, msg: Event) -> bool:
        """As the SDK's, but a flag that it cannot read counts as invalid data, not as a lost connection."""
        try:
            return bool(super()._process_message(store, msg))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise json.JSONDecodeError(f"{type(error).__name__}: {error}", "", 0) from error

    def _handle_error(self, error: Exception) -> bool:
        # Its frames hold the response, and that a socket, until the garbage collector comes by.
        error.__traceback__ = None
        return bool(super()._handle_error(error))

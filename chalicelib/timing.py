"""Every wait of the app, in one place, in seconds.

One :class:`Timing` is passed to each part that waits. What has to fit into what:

- The read path: all that a request waits for a store that is away is less than a second.
- A refresh: gathering and fetching end before the lock does; so does the write, for which the lock is
  renewed. A webhook waits for its turn longer than the lock of an instance that died lasts, and then still
  answers before API Gateway gives up.

``tests/unit/test_timing.py`` adds these up.
"""

from typing import NamedTuple

API_GATEWAY_SECONDS = 29.0
"""After which API Gateway answers 504 by itself."""


class Timing(NamedTuple):
    """How long each part waits, how often it tries, and for how long a lock lasts."""

    # The read path.

    first_exchange_seconds: float = 0.9
    """The first exchange of a cold function, which may have a name to resolve and TLS to begin."""
    redis_held_seconds: float = 0.2
    """One exchange over an open connection to Redis, which may have died unnoticed while the function was frozen."""
    redis_reconnect_seconds: float = 0.25
    """The same exchange over the connection that replaces it, connecting included."""
    dynamodb_held_seconds: float = 0.35
    """The same two of DynamoDB, where an attempt that follows a throttling comes out of them as well."""
    dynamodb_reconnect_seconds: float = 0.4
    """Over the connection that replaces the open one."""
    dynamodb_query_seconds: float = 1.5
    """Both together for a page of the items, until it begins to come. A store with a snapshot is asked for none."""
    dynamodb_read_attempts: int = 2
    """The second follows a first throttling."""
    dynamodb_read_pause_seconds: float = 0.05
    """Before that second attempt."""
    store_retry_seconds: float = 1.0
    """How long the read path leaves a store alone that has failed, so that not every request waits for it."""
    store_longest_retry_seconds: float = 30.0
    """The longest such pause, when data came from the store but too slowly: each is up to twice the one before."""
    clocks_differ_seconds: float = 0.02
    """By how much the clocks of API Gateway and of a function may differ: both follow Amazon's, within milliseconds."""

    big_segments_seconds: float = 0.9
    """All that a request waits for memberships in big segments, less what it has waited for the flag store already."""
    big_segments_least_seconds: float = 0.2
    """Of that, so much is left in any case: a data set that took long to read says nothing about memberships."""

    # Analytics events.

    events_held_seconds: float = 0.1
    """Leaving events in the store, over the connection that has just answered."""
    events_reconnect_seconds: float = 0.15
    """The same over the connection that replaces it; an evaluation waits no longer than both for its events."""
    known_contexts_seconds: float = 300.0
    """How long LaunchDarkly need not be told of a context again: what the SDK takes by default."""
    delivery_seconds: float = 40.0
    """In one run, no payload is sent to LaunchDarkly later than this."""
    delivery_lock_seconds: float = 57.0
    """For which one run has the queue for itself."""
    event_connect_seconds: float = 3.0
    """One connection to LaunchDarkly's events service."""
    event_send_seconds: float = 10.0
    """One payload, from the connection to the answer."""
    delivery_retry_seconds: tuple[float, float] = (50.0, 600.0)
    """The first and the longest pause after LaunchDarkly has not taken a payload; each is twice the one before."""

    # Connections to the stores, of both paths.

    silence_seconds: float = 0.5
    """How long a store may pause in the middle of an answer."""
    slowest_bytes_per_second: float = 64 * 1024.0
    """An answer that comes slower than this, on the average, is given up: half a megabit a second."""
    exchange_seconds: float = 20.0
    """One exchange in all, however well its bytes come."""
    next_address_seconds: float = 0.05
    """How long one address of a host is tried alone, and how long the resolver is waited for where one is known."""
    addresses_seconds: float = 60.0
    """How long the addresses of a host are remembered."""
    connection_seconds: float = 60.0
    """How long a connection is kept: after a failover it may lead to a node that nobody writes to any more."""
    shortest_exchange_seconds: float = 0.05
    """With less than this left, an exchange is not begun over a new connection, which is kept for the next one."""

    # A refresh.

    answer_seconds: float = 27.5
    """In which a webhook has its answer, not counting a store that hangs."""
    lock_seconds: float = 12.0
    """For gathering and fetching: after this, the lock of an instance that died is free."""
    write_lock_seconds: float = 8.0
    """For the write, counted from its beginning, for which the lock is renewed: at least this, however late it is."""
    lock_poll_seconds: tuple[float, float] = (0.1, 0.3)
    """Between two attempts to take the lock; random, so that waiting webhooks do not meet."""
    gather_seconds: float = 2.0
    """How long a refresh gathers the webhooks of a burst at most."""
    quiet_seconds: float = 0.3
    """How long no further webhook must have come for a burst to be over."""
    data_set_seconds: float = 5.0
    """All that a fetch waits for the network until the whole data set has arrived; parsing it does not count."""
    fetch_limit_seconds: float = 9.0
    """The longest that a fetch lasts, with its own work: a large data set keeps a small function busy."""
    reconcile_extra_seconds: float = 15.0
    """So much longer a reconcile may fetch, for which nobody waits: its function lasts longer than a webhook's."""
    announced_seconds: float = 3.0
    """After that, until every announced version has arrived on the open stream."""
    settle_seconds: float = 1.0
    """At least so much of that when a webhook announced no version: LaunchDarkly's caches lag behind its webhooks."""
    stream_connect_seconds: float = 2.0
    """One attempt to connect to LaunchDarkly: its name, its addresses and TLS in all."""
    stream_retry_seconds: float = 1.0
    """Before LaunchDarkly is asked again after a failure."""
    redis_connect_seconds: float = 1.0
    """One connection of the writer to Redis, logging in included."""
    redis_command_seconds: float = 2.0
    """One command of the writer, or one transaction, until its bytes begin to pass."""
    dynamodb_connect_seconds: float = 1.0
    """One connection of the writer to DynamoDB."""
    dynamodb_request_seconds: float = 2.0
    """One attempt of one request of the writer to DynamoDB."""
    dynamodb_write_attempts: int = 2
    """Of each request of the writer."""
    snapshot_grace_seconds: float = 60.0
    """How long a snapshot that was replaced stays in DynamoDB, for whoever is still reading its parts."""
    dynamodb_backoff_seconds: tuple[float, float] = (0.05, 1.0)
    """The first and the longest pause before DynamoDB is asked again to take what it did not process."""

    # Secrets, and direct mode.

    secret_connect_seconds: float = 2.0
    """One connection to Parameter Store."""
    secret_read_seconds: float = 3.0
    """One attempt to read a secret from Parameter Store."""
    secret_attempts: int = 2
    """Of reading a secret."""
    secret_age_seconds: float = 600.0
    """After which a parameter is read again, so that a secret that was replaced does not live on in some function."""
    secret_again_seconds: float = 60.0
    """A parameter is looked at again at most this often: forged signatures must not become calls to SSM."""
    direct_start_seconds: float = 5.0
    """How long the first request in direct mode waits for LaunchDarkly's data set."""

    @property
    def fetch_seconds(self) -> float:
        """The longest that a fetch waits for LaunchDarkly."""
        return self.data_set_seconds + self.announced_seconds

    @property
    def dynamodb_last_batch_seconds(self) -> float:
        """The longest that one request of the writer takes. None begins later than this before the lock ends."""
        return self.dynamodb_write_attempts * self.dynamodb_request_seconds

    @property
    def turn_seconds(self) -> float:
        """How long a refresh takes, once it has the lock, when it waits for everything as long as it may."""
        write_seconds = self.write_lock_seconds - self.dynamodb_last_batch_seconds
        return self.gather_seconds + self.fetch_limit_seconds + write_seconds

    def for_reconcile(self, within_seconds: float) -> "Timing":
        """The same for a reconcile in a function that has so many seconds left; never less than for a webhook.

        Of what it has more, one half goes to the fetch, so that as much is left for its turn to come.
        """
        spare_seconds = max(0.0, within_seconds - self.answer_seconds)
        extra_seconds = min(self.reconcile_extra_seconds, spare_seconds / 2)
        return self._replace(
            answer_seconds=self.answer_seconds + spare_seconds,
            data_set_seconds=self.data_set_seconds + extra_seconds,
            fetch_limit_seconds=self.fetch_limit_seconds + extra_seconds,
            lock_seconds=self.lock_seconds + extra_seconds,
        )

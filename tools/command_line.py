"""How every command of `tools/` ends: with 0, or with 1 after one line that says what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import FlagsError
from tools.stages import StageError


def run(command: Callable[[], object]) -> int:
    """The exit status of ``command``, whose result does not matter."""
    try:
        command()
    except (StageError, FlagsError) as error:
        print(error, file=sys.stderr)
        return 1
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        return 1
    return 0

"""Print a new token for the evaluation API and its digest: ``python tools/new_token.py``.

The token goes to the caller and is kept nowhere here; the digest goes into the stage's configuration.
"""

from __future__ import annotations

import hashlib
import secrets

_RANDOM_BYTES = 32


def main() -> None:
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    print(f"token:  {token}")
    print(f"digest: {hashlib.sha256(token.encode()).hexdigest()}")
    print("Give the token to the caller. Add the digest to EVALUATE_TOKEN_SHA256 (all flags)")
    print("or EVALUATE_CLIENT_TOKEN_SHA256 (only flags available to client-side SDKs) of the stage,")
    print("separated by a comma from those that are there, and deploy.")


if __name__ == "__main__":
    main()

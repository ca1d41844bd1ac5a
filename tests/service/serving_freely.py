"""A server without limits of rate, for the load: `python -m tests.service.serving_freely URL`."""

from __future__ import annotations

import asyncio
import os
import sys

from sojourn.service import Credential, SecretKeys, ServiceOptions, application
from sojourn.service.serving import address_of, listen, say, serve
from sojourn.store import aopen


async def main(url: str) -> None:
    keys = SecretKeys({os.environ["SOJOURN_ADMIN_SECRET"]: Credential("load", "default")})
    with listen("127.0.0.1", 0) as listening:
        async with aopen(url) as store, store.runner():
            app = application(store, keys=keys, options=ServiceOptions(per_second=None))
            await serve(app, listening, lambda: say([address_of(listening, "127.0.0.1")]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

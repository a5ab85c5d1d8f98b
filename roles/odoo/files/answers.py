"""Wait until every address given answers 200; print those that do not in time.

Usage: answers.py SECONDS URL ...
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request


def fault(url: str) -> str:
    """Why an address does not answer 200; empty when it does."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  the role gives http addresses
            answer.read()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read(300).decode(errors='replace').strip()}"
    except (OSError, ValueError) as error:
        return f"{url}: {error}"
    return ""


def main() -> None:
    deadline = time.monotonic() + float(sys.argv[1])
    for url in sys.argv[2:]:
        while problem := fault(url):
            if time.monotonic() > deadline:
                sys.exit(problem)
            time.sleep(0.5)


if __name__ == "__main__":
    main()

"""The `sharedllm` command, also as `python -m sharedllm_cli`."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command of the command line; a question for a warm process goes to it before the rest is imported."""
    if sys.argv[1:2] == ["ask"]:
        from sharedllm_cli.serving.ahead import send_ahead

        send_ahead(sys.argv[1:], os.environ)
    from sharedllm_cli.cli import app

    app.main()


if __name__ == "__main__":
    main()

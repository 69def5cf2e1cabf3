"""`python -m sharedllm_cli` is the `sharedllm` command."""

from sharedllm_cli.cli.app import main

if __name__ == "__main__":
    main()

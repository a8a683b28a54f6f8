"""`python -m ama` is the `ama` command."""

from ama.cli import main

if __name__ == "__main__":
    main()

"""``python -m lrpilot``: the command line, where its script is not on the path."""

from lrpilot.cli.app import main

if __name__ == "__main__":
    main()

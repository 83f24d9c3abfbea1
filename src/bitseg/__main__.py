"""`python -m bitseg`."""

from bitseg.cli.main import main

if __name__ == "__main__":
    main()

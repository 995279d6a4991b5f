"""C{python -m tile38cm.operate.ctl}."""

from tile38cm.operate.ctl.commands import main

if __name__ == "__main__":
    main()

"""The console script, installed as `embedsmith_entry` so that its name collides with nothing."""

import os
import sys


def main() -> int:
    """Run the command line with the caller's PYTHONPATH out of the way."""
    foreign = {
        os.path.abspath(entry)  # noqa: PTH100
        for entry in os.environ.pop("PYTHONPATH", "").split(os.pathsep)
        if entry
    }
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in foreign]  # noqa: PTH100
    from tui.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())

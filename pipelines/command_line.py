"""What all command lines have in common."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Shows a module's docstring as it is written, takes no abbreviated flags, tells an error in one line."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"error: {message} (--help lists the flags)\n")

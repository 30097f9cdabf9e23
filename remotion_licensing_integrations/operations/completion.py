"""
Completion of the command line in shells, by shtab.

It writes a script once; argcomplete would start this program at each press of the key.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import Any, Final

SHELLS: Final = ("bash", "zsh", "fish")
#: How shtab completes the attribute `complete` of an argument that is a file.
FILE: Final = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "fish": "(__fish_complete_path (commandline -ct))",
}


class PrintCompletion(argparse.Action):
    """
    Prints the script of a shell and ends the program.
    """

    def __call__(self, parser: argparse.ArgumentParser, _namespace: object, shell: Any, _option: object = None) -> None:
        """
        Print the script of *shell*.
        """
        if importlib.util.find_spec("shtab") is None:
            parser.error("completion: run pip install 'remotion-licensing-integrations[cli]'")
        import shtab  # noqa: PLC0415 - the extra `cli`

        sys.stdout.write(shtab.complete(parser, shell))
        parser.exit()

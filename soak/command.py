"""
The command line of the package in a process of the site, whose clock may jump: `python -m soak.command WORDS`.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        from django.core.management import execute_from_command_line

        words = sys.argv[1:]
        execute_from_command_line(["manage.py", *(words if words == ["migrate"] else ["remotion_licensing", *words])])
    else:
        from remotion_licensing_integrations.operations.cli import main

        sys.exit(main())

"""
`python -m remotion_licensing_integrations`.
"""

import sys

from .cli import main

sys.exit(main())

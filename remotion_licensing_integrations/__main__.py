"""
`python -m remotion_licensing_integrations`.
"""

import sys

from .operations import main

sys.exit(main())

"""
The dashboard: a page for the person who answers for the licence, mounted in any ASGI app.

In come a recorder and who may see it; out goes an ASGI app: `app.mount("/usage", usage_dashboard(authorize=…))`.

    app.py       its routes, who may use them, and how            overview.py   the figures, and what needs a person
    changes.py   *retry* and *complete*, safe from other sites     search.py     the latest points, and their CSV
"""

from .app import usage_dashboard

__all__ = ["usage_dashboard"]

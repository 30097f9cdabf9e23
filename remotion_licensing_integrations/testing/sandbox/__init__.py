"""
The sandbox: a local licensing server that behaves as the documented Remotion licensing API.

In come the calls of an app under development or test; out go documented answers, or failures on request, and the points
that were counted. It needs the standard library only.

```
rules.py      what the API documents: valid requests, classification     failures.py   how to misbehave
ledger.py     the points that were counted, and their file               api.py        request -> answer (page.html)
server.py     `Sandbox`, a running server                                command.py    `remotion-licensing sandbox`
```
"""

from .command import add_arguments, run
from .failures import Failure
from .ledger import CountedPoint
from .server import Sandbox

__all__ = ["CountedPoint", "Failure", "Sandbox", "add_arguments", "run"]

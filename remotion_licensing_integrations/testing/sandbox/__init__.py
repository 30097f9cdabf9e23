"""
The sandbox: a local licensing server that behaves as the documented Remotion licensing API.

For demos, tests, and the development of apps that report usage. Importing this package imports no server.

```
rules.py      what the API documents: valid requests, classification     failures.py   how to misbehave
state.py      the ledger of points (journal.py: its file)                answers.py    what goes out
api.py        the two documented calls                                   control.py    the page and its switches
app.py        path → function                                            listener.py   uvicorn, bent to our needs
server.py     `Sandbox`, a running server                                command.py    `remotion-licensing sandbox`
```
"""

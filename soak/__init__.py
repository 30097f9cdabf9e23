"""
The soak: minutes or hours of load on real servers with kills, crashes and an API that fails; then every key is found.

    run.py        the command line: one soak from beginning to end
    plan.py       what happens when, from a seed         conductor.py  makes it happen
    load.py       the clients, and the keys they got     account.py    where each key is at the end
    stores.py     the outboxes, and how they break       site.py       the web server and the deliverer
    api.py        the licensing API, a process           clock.py      a clock that jumps
    app.py, django_project.py, command.py                what the processes of the site run

A process that imports it has a clock that jumps, when its environment says so: before it imports the package, which
keeps references to `time.time`.
"""

from .clock import install

install()

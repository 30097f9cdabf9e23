"""
The tables of a Django project while a new version is deployed: processes of the old and the new one run side by side.
"""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections, models
from django.db.migrations import AddField, AddIndex, CreateModel, DeleteModel, RemoveField, RenameField

from remotion_licensing_integrations.django import migrations
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.outbox import SQLiteOutbox
from remotion_licensing_integrations.recording import UsageRecorder
from remotion_licensing_integrations.recording import spill as spill_module
from remotion_licensing_integrations.settings import Settings
from tests._delivery import KEY
from tests._django import add_database
from tests._server_outbox import new_databases
from tests.outbox._values import REGISTRATION, claim, keys, point
from tests.processes.servers import eventually

PATIENCE = 10  # seconds


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def alias(request, tmp_path, django_db_blocker, django_db_setup):
    """
    Alias of a new database without tables.
    """
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        if request.param == "sqlite":
            entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "project.sqlite3"}
        else:
            server = request.getfixturevalue(request.param)
            [url] = stack.enter_context(new_databases(server))
            entry = {**server, "NAME": url.partition("?")[0].rpartition("/")[2]}
        yield stack.enter_context(add_database("upgraded", entry, migrated=False))


def migrate(alias):
    call_command("migrate", "remotion_licensing", database=alias, verbosity=0)


def test_process_of_the_older_version(alias):
    """
    After a migration that adds a column and an index, a process that does not know of them stores and settles points.
    """
    migrate(alias)
    outbox = DjangoOutbox(alias)
    outbox.add([point("before")])
    other = connections[alias].copy()
    with other.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {outbox.table} ADD COLUMN colour VARCHAR(20)")
        cursor.execute(f"CREATE INDEX colours ON {outbox.table} (colour)")
    other.close()
    outbox.add([point("after")])
    claimed = claim(outbox)

    assert sorted(keys(claimed)) == ["after", "before"]
    assert outbox.update([each.register(REGISTRATION) for each in claimed]) == 2
    outbox.close()


def test_process_before_the_migration(alias, tmp_path, monkeypatch):
    """
    A process of the newer version that runs before `manage.py migrate` spills its points, and moves them afterwards.
    """
    monkeypatch.setattr(spill_module, "MOVE_AFTER", 0.01)
    file = SQLiteOutbox(tmp_path / "spill.sqlite3")
    outbox = DjangoOutbox(alias)
    settings = Settings(license_key=KEY, delivery="external", spill=f"sqlite:///{file.path}")
    recorder = UsageRecorder(settings, outbox=outbox)
    assert recorder.record(point("early"), wait=PATIENCE)
    assert keys(file.list()) == ["early"]
    migrate(alias)

    eventually(lambda: not file.list())
    assert keys(outbox.list()) == ["early"]
    recorder.stop(PATIENCE)
    file.close()


def only_adds(operation):
    """
    Whether the statements of an older version work after a migration's *operation*.
    """
    if isinstance(operation, AddField):
        return operation.field.null or operation.field.has_db_default()
    return isinstance(operation, CreateModel | AddIndex)


def test_migrations_only_add():
    """
    Migrations after the first only add tables, indexes, and columns that an older version may leave out.
    """
    names = sorted(path.stem for path in Path(migrations.__file__).parent.glob("[0-9]*.py"))
    added = [import_module(f"{migrations.__name__}.{name}").Migration.operations for name in names[1:]]

    assert [operation for operations in added for operation in operations if not only_adds(operation)] == []


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        (AddField("usagepointrecord", "colour", models.TextField(null=True)), True),
        (AddField("usagepointrecord", "colour", models.TextField(db_default="red")), True),
        (AddField("usagepointrecord", "colour", models.TextField(default="red")), False),
        (AddIndex("usagepointrecord", models.Index(fields=["label"], name="labels")), True),
        (CreateModel("ColourRecord", []), True),
        (RemoveField("usagepointrecord", "label"), False),
        (RenameField("usagepointrecord", "label", "name"), False),
        (DeleteModel("PauseRecord"), False),
    ],
)
def test_what_a_migration_may_do(operation, allowed):
    """
    What would break the statements of an older version is found.
    """
    assert only_adds(operation) == allowed

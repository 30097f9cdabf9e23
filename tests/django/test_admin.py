"""
The admin, without a browser.
"""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from remotion_licensing_integrations.api import Counted
from remotion_licensing_integrations.django.models import UsagePointRecord
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.django.summary import DAYS, KINDS, Summary
from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.points import EventCount, Usage, UsagePoint

pytestmark = pytest.mark.django_db

LIST = "/admin/remotion_licensing/usagepointrecord/"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def make(key="key", **changes):
    """
    Store a registered and billable point, or what *changes* make of it.
    """
    values = {
        "event": "cloud-render",
        "host": "https://myapp.com",
        "succeeded": True,
        "is_still": False,
        "is_production": True,
        "occurred_at": timezone.now(),
        "state": "registered",
        "due": 1_700_000_000.5,
        "attempts": 1,
        "billable": True,
        "classification": "billable",
    }
    return UsagePointRecord.objects.create(idempotency_key=key, **values | changes)


def make_stuck(key="key", **changes):
    return make(key, **{"state": "rejected", "billable": None, "classification": None, "last_error": "400"} | changes)


def client_with(*permissions):
    """
    Return the client of a member of staff with *permissions*.
    """
    user = User.objects.create_user("-".join(["staff", *permissions]), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer():
    return client_with("view_usagepointrecord")


def act(client, action, *records, **extra):
    """
    Run *action* on *records*, following the redirect.
    """
    data = {"action": action, "_selected_action": [record.pk for record in records], **extra}
    return client.post(LIST, data, follow=True)


def messages(response):
    return [str(message) for message in response.context["messages"]]


def keys(response):
    return {record.idempotency_key for record in response.context["cl"].result_list}


def rows(response):
    """
    Return the rows of a CSV file as dicts.
    """
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))


def test_the_list_shows_a_point(admin_client):
    """
    With host, event, state and error.
    """
    make_stuck(last_error="400: no such key")

    text = admin_client.get(LIST).content.decode()

    assert all(part in text for part in ("https://myapp.com", "cloud-render", "rejected", "400: no such key"))


def test_a_long_error_is_shortened_in_the_list(admin_client):
    """
    The list stays a list.
    """
    make_stuck(last_error="x" * 500)

    assert "x" * 79 + "…" in admin_client.get(LIST).content.decode()


def test_an_error_is_escaped(admin_client):
    """
    What the API answered is text, not markup.
    """
    make_stuck(last_error="<script>alert(1)</script>")

    assert "<script>alert" not in admin_client.get(LIST).content.decode()


def test_a_point_is_shown_whole(admin_client):
    """
    Its own page has all of the error, and moments a person can read.
    """
    record = make_stuck(last_error="x" * 500, unanswered_since=1_700_000_000.0)

    text = admin_client.get(f"{LIST}{record.pk}/change/").content.decode()

    assert ("x" * 500 in text, text.count("Nov. 14, 2023, 10:13 p.m.")) == (True, 2)


def test_a_point_that_was_answered_has_no_moment_without_answer(admin_client):
    """
    A dash stands there.
    """
    record = make()

    text = admin_client.get(f"{LIST}{record.pk}/change/").content.decode()

    assert re.search(r"Unanswered since:</label>\s*<div class=\"readonly\">-</div>", text)


def test_moments_are_in_utc_without_time_zones(admin_client, settings):
    """
    As the other times of such a project's table are.
    """
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Tokyo"
    record = make(occurred_at=datetime(2023, 11, 14, 22, 13))  # noqa: DTZ001 - as Django stores it then

    assert "Nov. 14, 2023, 10:13 p.m." in admin_client.get(f"{LIST}{record.pk}/change/").content.decode()


@pytest.mark.parametrize("path", ["add/", "1/delete/"])
def test_nobody_adds_or_deletes_points(path, admin_client):
    """
    Not even a superuser.
    """
    make(pk=1)

    assert admin_client.get(LIST + path).status_code == 403


def test_nobody_changes_points(admin_client):
    """
    The form takes nothing.
    """
    record = make()

    response = admin_client.post(f"{LIST}{record.pk}/change/", {"host": "https://other.com"})

    assert (response.status_code, UsagePointRecord.objects.get().host) == (403, "https://myapp.com")


def test_staff_without_permission_see_nothing():
    """
    The list is forbidden.
    """
    assert client_with().get(LIST).status_code == 403


def test_a_viewer_sees_the_list(viewer):
    """
    The permission to view points is enough.
    """
    make()

    assert keys(viewer.get(LIST)) == {"key"}


@pytest.mark.parametrize(
    ("permissions", "actions"),
    [
        (["view_usagepointrecord"], {"export_as_csv"}),
        (["change_usagepointrecord"], {"export_as_csv", "retry_selected"}),
    ],
)
def test_a_user_is_offered_the_actions_that_they_may_do(permissions, actions):
    """
    To retry needs the permission to change points; deletion is offered to nobody.
    """
    make()

    choices = client_with(*permissions).get(LIST).context["action_form"].fields["action"].choices

    assert {name for name, _ in choices if name} == actions


def test_a_viewer_cannot_retry(viewer):
    """
    Not by a request of their own making either.
    """
    record = make_stuck()

    act(viewer, "retry_selected", record)

    assert UsagePointRecord.objects.get().state == "rejected"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state__exact=held", {"held"}),
        ("event__exact=web-render", {"web"}),
        ("classification=development", {"development"}),
        ("succeeded__exact=0", {"failed"}),
        ("q=plain", {"plain-1", "plain-2"}),
        ("q=other.com", {"held"}),
        ("occurred_at__year=2020", {"web"}),
    ],
)
def test_the_list_can_be_filtered(query, found, admin_client):
    """
    By state, event, classification, outcome, the beginning of a key, host and date.
    """
    make_stuck("held", state="held", host="https://other.com")
    make("web", event="web-render", occurred_at=datetime(2020, 5, 1, tzinfo=UTC))
    make("development", classification="development")
    make("failed", succeeded=False)
    make("plain-1")
    make("plain-2")

    assert keys(admin_client.get(f"{LIST}?{query}")) == found


@pytest.mark.parametrize("state", ["rejected", "held"])
def test_retry_makes_a_stuck_point_due(state, admin_client):
    """
    A deliverer gets it next, under the same key.
    """
    record = make_stuck(state=state)

    act(admin_client, "retry_selected", record)

    assert [claimed.point.idempotency_key for claimed in DjangoOutbox().claim(9, lease=60)] == ["key"]


def test_retry_says_how_many_points_are_due(admin_client):
    """
    Those that were neither rejected nor held are left alone.
    """
    response = act(admin_client, "retry_selected", make_stuck("a"), make_stuck("b", state="held"), make("c"))

    assert messages(response) == ["2 usage points are due again."]


def test_retry_leaves_a_registered_point(admin_client):
    """
    It would count twice.
    """
    response = act(admin_client, "retry_selected", make())

    assert (UsagePointRecord.objects.get().state, messages(response)) == (
        "registered",
        ["None of the selected usage points is rejected or held."],
    )


def test_retry_takes_all_pages(admin_client):
    """
    More points than a page has, in more statements than one.
    """
    records = [make_stuck(f"key-{number}") for number in range(501)]

    response = act(admin_client, "retry_selected", records[0], select_across="1")

    assert messages(response) == ["501 usage points are due again."]


def test_retry_is_in_the_history(admin_client):
    """
    The operator can see who sent a point again.
    """
    record = make_stuck()

    act(admin_client, "retry_selected", record)

    [entry] = LogEntry.objects.all()
    assert (entry.user.username, entry.object_id, entry.change_message) == ("admin", str(record.pk), "Made due again.")


def test_a_store_that_refuses_is_a_message(admin_client, monkeypatch):
    """
    Not an error page.
    """

    def refuse(*_):
        raise OutboxError("disk full")

    monkeypatch.setattr(DjangoOutbox, "retry", refuse)

    assert messages(act(admin_client, "retry_selected", make_stuck())) == ["disk full"]


def test_the_csv_has_a_point_in_a_row(viewer):
    """
    With all that is known of it, for whoever may view points.
    """
    response = act(viewer, "export_as_csv", make(occurred_at=NOON, host=None, label="customer-42"))

    assert rows(response) == [
        {
            "idempotency_key": "key",
            "event": "cloud-render",
            "host": "",
            "succeeded": "true",
            "is_still": "false",
            "is_production": "true",
            "occurred_at": "2026-11-22T12:00:00+00:00",
            "label": "customer-42",
            "state": "registered",
            "attempts": "1",
            "billable": "true",
            "classification": "billable",
            "last_error": "",
        }
    ]


def test_the_csv_is_a_download(viewer):
    """
    Named after the day.
    """
    response = act(viewer, "export_as_csv", make())

    assert re.fullmatch(
        r'attachment; filename="usage-points-\d{4}-\d\d-\d\d\.csv"', response.headers["Content-Disposition"]
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_a_cell_is_never_a_formula(start, viewer):
    """
    A spreadsheet would run it.
    """
    response = act(viewer, "export_as_csv", make_stuck(last_error=f"{start}HYPERLINK()"))

    assert rows(response)[0]["last_error"] == f"'{start}HYPERLINK()"


def test_the_csv_has_the_selected_points_only(viewer):
    """
    What is not ticked is not exported.
    """
    record = make("a")
    make("b")

    assert [row["idempotency_key"] for row in rows(act(viewer, "export_as_csv", record))] == ["a"]


def test_the_csv_has_utc_times_without_time_zones(viewer, settings):
    """
    So that no reader must guess.
    """
    settings.USE_TZ = False
    record = make(occurred_at=datetime(2026, 11, 22, 12))  # noqa: DTZ001 - as Django stores it then

    assert rows(act(viewer, "export_as_csv", record))[0]["occurred_at"] == "2026-11-22T12:00:00+00:00"


@pytest.mark.django_db(transaction=True)
def test_the_csv_is_streamed_under_asgi():
    """
    By an asynchronous iterator: Django warns of any other.
    """
    from asgiref.sync import async_to_sync  # noqa: PLC0415 - Django is an extra, and set up later

    user = User.objects.create_superuser("async")
    record = make()

    async def export():
        client = AsyncClient()
        await client.aforce_login(user)
        response = await client.post(LIST, {"action": "export_as_csv", "_selected_action": [record.pk]})
        return b"".join([line async for line in response.streaming_content]).decode()

    assert async_to_sync(export)().splitlines()[1].startswith("key,cloud-render,")


def test_the_summary_counts_states():
    """
    All of them, also those without points.
    """
    make_stuck("a")
    make("b")
    make("c")

    assert dict(Summary(UsagePointRecord.objects.all()).states) == {
        "deferred": 0,
        "pending": 0,
        "registered": 2,
        "rejected": 1,
        "held": 0,
    }


def test_the_summary_counts_classifications():
    """
    Those that occur, the known ones first; what is not registered has none.
    """
    make_stuck("a")
    make("b", classification="another")
    make("c", classification="failed")
    make("d", classification="billable")
    make("e", classification="billable", occurred_at=datetime(2020, 1, 1, tzinfo=UTC))

    summary = Summary(UsagePointRecord.objects.all())

    assert summary.classifications == [("billable", 2), ("failed", 1), ("another", 1)]


def test_the_chart_has_a_day_for_each_of_the_last_thirty():
    """
    Today is the last.
    """
    days = Summary(UsagePointRecord.objects.all(), NOON.date()).chart.days

    assert [day.date for day in days] == [NOON.date() - timedelta(days=29 - number) for number in range(DAYS)]


@pytest.mark.parametrize(
    ("age", "total"), [(-1, 0), (0, 1), (29, 1), (30, 0)], ids=["tomorrow", "today", "first day", "before"]
)
def test_the_chart_has_the_points_of_its_days(age, total):
    """
    Both ends included.
    """
    make(occurred_at=NOON - timedelta(days=age))

    assert Summary(UsagePointRecord.objects.all(), NOON.date()).chart.totals.total == total


def test_a_day_counts_its_points_by_kind():
    """
    What the API does not know of is open, what we do not know of is other.
    """
    make("a", occurred_at=NOON)
    make("b", occurred_at=NOON, classification="another")
    make("c", occurred_at=NOON, classification=None)
    make_stuck("d", occurred_at=NOON)

    day = Summary(UsagePointRecord.objects.all(), NOON.date()).chart.days[-1]

    assert dict(zip(KINDS, day.cells, strict=True)) == {
        "billable": 1,
        "development": 0,
        "failed": 0,
        "other": 2,
        "open": 1,
    }


def test_a_day_begins_at_midnight_in_the_current_time_zone(settings):
    """
    An evening in New York is not the next day, as in UTC.
    """
    settings.TIME_ZONE = "America/New_York"
    make(occurred_at=datetime(2026, 11, 22, 3, tzinfo=UTC))

    [day] = Summary(UsagePointRecord.objects.all(), NOON.date()).chart.busy_days

    assert day.date == date(2026, 11, 21)


def test_a_day_begins_at_midnight_utc_without_time_zones(settings):
    """
    Which is what such a table holds.
    """
    settings.USE_TZ = False
    make(occurred_at=datetime.now(UTC).replace(tzinfo=None))

    summary = Summary(UsagePointRecord.objects.all())

    assert [day.date for day in summary.chart.busy_days] == [summary.last]


def test_the_parts_of_a_bar_stand_on_each_other():
    """
    A bar is as high as its share of a round number.
    """
    for number in range(3):
        make(f"a{number}", occurred_at=NOON)
    make_stuck("b", occurred_at=NOON)

    summary = Summary(UsagePointRecord.objects.all(), NOON.date())

    assert (summary.chart.top, [(part.kind, part.y, part.height) for part in summary.chart.days[-1].segments]) == (
        5,
        [("billable", 40, 60), ("open", 20, 20)],
    )


@pytest.mark.parametrize(("number", "top"), [(0, 1), (1, 1), (3, 5), (11, 20), (20, 20), (501, 1000)])
def test_the_axis_ends_at_a_round_number(number, top):
    """
    1, 2 or 5 and zeros.
    """
    UsagePointRecord.objects.bulk_create(
        UsagePointRecord(
            idempotency_key=str(each), event="cloud-render", succeeded=True, is_still=False, is_production=True,
            occurred_at=NOON, due=0,
        )
        for each in range(number)
    )  # fmt: skip

    assert Summary(UsagePointRecord.objects.all(), NOON.date()).chart.top == top


def test_the_summary_takes_one_query(django_assert_num_queries):
    """
    However much of it is shown.
    """
    make()
    summary = Summary(UsagePointRecord.objects.all())

    with django_assert_num_queries(1):
        assert all([summary.states, summary.classifications, summary.chart.days, summary.chart.top])


def test_the_chart_has_a_text_alternative(admin_client):
    """
    Its name says what it shows.
    """
    make("a")
    make_stuck("b")

    assert (
        'role="img" aria-label="2 usage points: 1 billable, 1 not registered.'
        in admin_client.get(LIST).content.decode()
    )


@pytest.fixture
def counted(monkeypatch):
    """
    What the licensing API says it has counted this month.
    """

    def counted(answer):
        reader = SimpleNamespace(read=lambda *_: [answer])
        monkeypatch.setattr("remotion_licensing_integrations.django.summary.usage_reader", lambda _: reader)

    return counted


def test_this_month_stands_beside_the_counts_of_the_api(admin_client, counted):
    """
    By event and classification; a difference is marked.
    """
    counts = EventCount(billable=1, development=0, failed=3)
    counted(Counted(Usage(counts, EventCount(2, 0, 0), EventCount(2, 0, 0))))
    make("a")
    make("b", event="web-render")
    make("c", event="webcodec-conversion")
    make_stuck("d")
    make("e", occurred_at=datetime(2020, 1, 1, tzinfo=UTC))

    summary = Summary(UsagePointRecord.objects.all())

    assert summary.month == [("cloud-render", [(1, 1), (0, 0), (0, 3)]), ("web-render", [(2, 2), (0, 0), (0, 0)])]
    assert '<td>0<small class="remotion-differs">API 3</small></td>' in admin_client.get(LIST).content.decode()


def test_an_api_that_is_away_is_explained(admin_client, counted):
    """
    The list is there all the same.
    """
    counted(Counted(None, "HTTP 503: away"))
    make("a")

    text = admin_client.get(LIST).content.decode()

    assert ("HTTP 503: away" in text, "<td>1</td>" in text) == (True, True)


def test_unusable_settings_are_a_reason(settings):
    """
    A mistake in them keeps nobody from the list.
    """
    settings.REMOTION_LICENSING = {"TIMEOUT": -1}

    assert "timeout: expected" in Summary(UsagePointRecord.objects.all()).counted.reason


def test_the_month_begins_in_utc_without_time_zones(settings):
    """
    Which is what such a table holds.
    """
    settings.USE_TZ = False
    make(occurred_at=datetime.now(UTC).replace(tzinfo=None))

    assert Summary(UsagePointRecord.objects.all()).month[0][1][0][0] == 1


def test_an_empty_table_has_a_page(admin_client):
    """
    The chart is empty, and says so.
    """
    text = admin_client.get(LIST).content.decode()

    assert "There are no usage points in these days." in text


def test_the_chart_has_numbers_that_svg_reads(admin_client, settings):
    """
    In a language with decimal commas too.
    """
    settings.LANGUAGE_CODE = "de"
    make()

    assert 'x="29.14"' in admin_client.get(LIST).content.decode()


def test_the_popup_has_no_summary(admin_client):
    """
    There it would be in the way.
    """
    assert "remotion-summary" not in admin_client.get(f"{LIST}?_popup=1").content.decode()


def test_the_index_offers_the_points_for_viewing(admin_client):
    """
    Under the name of the app, without a link to add one.
    """
    text = admin_client.get("/admin/").content.decode()

    assert (LIST in text, f"{LIST}add/" in text, "Remotion licensing" in text) == (True, False, True)


def test_the_admin_reads_the_database_of_the_outbox(admin_client, settings):
    """
    The one that `DATABASE` names, like the outbox itself.
    """
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, "DATABASE": "elsewhere"}

    with pytest.raises(Exception, match="elsewhere"):
        admin_client.get(LIST)


def test_points_of_the_outbox_are_shown(admin_client):
    """
    What the outbox stores the admin reads.
    """
    DjangoOutbox().add([UsagePoint(event="cloud-render", host=None, succeeded=True, idempotency_key="stored")])

    assert keys(admin_client.get(reverse("admin:remotion_licensing_usagepointrecord_changelist"))) == {"stored"}

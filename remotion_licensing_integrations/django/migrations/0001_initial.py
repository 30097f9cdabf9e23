"""
The tables of the outbox.
"""

from django.db import migrations, models

import remotion_licensing_integrations.django.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="PauseRecord",
            fields=[
                (
                    "deliverer",
                    remotion_licensing_integrations.django.models.KeyField(
                        max_length=500, primary_key=True, serialize=False
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("since", models.FloatField()),
                ("until", models.FloatField()),
            ],
        ),
        migrations.CreateModel(
            name="DailyTotalRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.IntegerField()),
                ("registered_day", models.IntegerField()),
                ("event", models.CharField(max_length=40)),
                ("host", models.CharField(max_length=300)),
                ("label", remotion_licensing_integrations.django.models.KeyField(max_length=100)),
                ("key_fingerprint", remotion_licensing_integrations.django.models.KeyField(max_length=64)),
                ("classification", models.CharField(max_length=100)),
                ("number", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "registered_day", "event", "host", "label", "key_fingerprint", "classification"),
                        name="remotion_total_of_a_day",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UsagePointRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "idempotency_key",
                    remotion_licensing_integrations.django.models.KeyField(
                        max_length=255, unique=True, verbose_name="idempotency key"
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("web-render", "web-render"),
                            ("cloud-render", "cloud-render"),
                            ("webcodec-conversion", "webcodec-conversion"),
                        ],
                        max_length=40,
                        verbose_name="event",
                    ),
                ),
                ("host", models.CharField(blank=True, max_length=300, null=True, verbose_name="host")),
                (
                    "succeeded",
                    models.BooleanField(
                        help_text="Unknown while the point is deferred.", null=True, verbose_name="succeeded"
                    ),
                ),
                ("is_still", models.BooleanField(verbose_name="still image")),
                ("is_production", models.BooleanField(verbose_name="production")),
                ("occurred_at", models.DateTimeField(verbose_name="occurred at")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("deferred", "deferred"),
                            ("pending", "pending"),
                            ("registered", "registered"),
                            ("rejected", "rejected"),
                            ("held", "held"),
                        ],
                        default="pending",
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                (
                    "due",
                    models.FloatField(
                        help_text="When it is delivered next while pending, else when it came into its state.",
                        verbose_name="due",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                ("token", models.CharField(editable=False, max_length=32, null=True)),
                ("unanswered_since", models.FloatField(null=True, verbose_name="unanswered since")),
                ("last_error", models.TextField(null=True, verbose_name="last error")),
                ("billable", models.BooleanField(null=True, verbose_name="billable")),
                ("classification", models.CharField(max_length=500, null=True, verbose_name="classification")),
                (
                    "label",
                    remotion_licensing_integrations.django.models.KeyField(
                        max_length=100, null=True, verbose_name="label"
                    ),
                ),
                (
                    "key_fingerprint",
                    models.CharField(default="", max_length=64, verbose_name="fingerprint of the key"),
                ),
            ],
            options={
                "verbose_name": "usage point",
                "verbose_name_plural": "usage points",
                "indexes": [
                    models.Index(fields=["state", "key_fingerprint", "due", "id"], name="remotion_usage_due"),
                    models.Index(fields=["state", "due", "id"], name="remotion_usage_state"),
                ],
            },
        ),
    ]

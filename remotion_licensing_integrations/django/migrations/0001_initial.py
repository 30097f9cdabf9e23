"""
The table of usage points.
"""

from django.db import migrations, models

import remotion_licensing_integrations.django.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
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
                ("succeeded", models.BooleanField(verbose_name="succeeded")),
                ("is_still", models.BooleanField(verbose_name="still image")),
                ("is_production", models.BooleanField(verbose_name="production")),
                ("occurred_at", models.DateTimeField(verbose_name="occurred at")),
                (
                    "state",
                    models.CharField(
                        choices=[
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
                        help_text="When it is delivered next while pending, else when it left that state.",
                        verbose_name="due",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                ("token", models.CharField(editable=False, max_length=32, null=True)),
                ("unanswered_since", models.FloatField(null=True, verbose_name="unanswered since")),
                ("last_error", models.TextField(null=True, verbose_name="last error")),
                ("billable", models.BooleanField(null=True, verbose_name="billable")),
                ("classification", models.CharField(max_length=500, null=True, verbose_name="classification")),
            ],
            options={
                "verbose_name": "usage point",
                "verbose_name_plural": "usage points",
                "indexes": [models.Index(fields=["state", "due"], name="remotion_usage_due")],
            },
        ),
    ]

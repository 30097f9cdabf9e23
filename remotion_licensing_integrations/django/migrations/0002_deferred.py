"""
Points whose work goes on: a state of their own, without an outcome.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("remotion_licensing", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="usagepointrecord",
            name="due",
            field=models.FloatField(
                help_text="When it is delivered next while pending, else when it came into its state.",
                verbose_name="due",
            ),
        ),
        migrations.AlterField(
            model_name="usagepointrecord",
            name="state",
            field=models.CharField(
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
        migrations.AlterField(
            model_name="usagepointrecord",
            name="succeeded",
            field=models.BooleanField(
                help_text="Unknown while the point is deferred.", null=True, verbose_name="succeeded"
            ),
        ),
    ]

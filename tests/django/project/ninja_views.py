"""
Operations of django-ninja.
"""

from ninja import NinjaAPI

from remotion_licensing_integrations.django import usage_point

api = NinjaAPI()


@api.post("/sync")
@usage_point("cloud-render")
def convert(request, quality: int = 1):
    return "video"


@api.post("/async")
@usage_point("cloud-render")
async def aconvert(request, quality: int = 1):
    return "video"

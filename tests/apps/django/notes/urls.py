from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

from .models import Note


def index(request):
    Note.objects.create(text="seen")
    return HttpResponse(f"{Note.objects.count()} notes")


urlpatterns = [path("", index), path("admin/", admin.site.urls)]

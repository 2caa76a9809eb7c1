"""The admin of users, devices, processes and sessions; `pages` has what other apps' admins share with it."""

from presence.admin import devices, login, people, servers
from presence.admin.pages import ReadOnly, SaysWhatIsRefused, SaysWhatStays

__all__ = [
    "ReadOnly",
    "SaysWhatIsRefused",
    "SaysWhatStays",
    "devices",
    "login",
    "people",
    "servers",
]

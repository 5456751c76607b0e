"""Settings and roles of this moment: this process's copy of what configuration keeps.

owns     definitions of settings, the watch of configuration, the snapshot in force, what of it this process refuses, its file on the disk
never    shows half a change; never runs with a value that breaks its definition; never writes a sensitive value to the disk
called   by mesh.process once at start; by services, which declare settings and read them from one snapshot at a time

Read `definition.py` for what a setting is, `snapshot.py` for how it is read, `own.py` for what becomes of a new value, then `watch.py`.
"""

from mesh.configuration.definition import SettingDefinition
from mesh.configuration.own import SettingRefused
from mesh.configuration.snapshot import Group, SettingsView, Snapshot
from mesh.configuration.watch import ConfigurationWatch

__all__ = [
    "ConfigurationWatch",
    "Group",
    "SettingDefinition",
    "SettingRefused",
    "SettingsView",
    "Snapshot",
]

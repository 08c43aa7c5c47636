"""Settings for Django's own tests, from the variables that croft's services set."""
import os

import django

VENDOR = os.environ["CROFT_DB_ENGINE"]
ENGINE = {"sqlite": "sqlite3"}.get(VENDOR, VENDOR)


def _database(name):
    settings = {"ENGINE": "django.db.backends." + ENGINE}
    if VENDOR == "postgresql":
        settings.update(NAME="postgres", USER=os.environ["CROFT_DB_USER"], HOST=os.environ["CROFT_DB_HOST"])
        settings["TEST"] = {"NAME": "test_" + name}
    elif VENDOR == "mysql":
        settings.update(NAME=name, USER=os.environ["CROFT_DB_USER"], HOST=os.environ["CROFT_DB_SOCKET"])
        settings["TEST"] = {"NAME": "test_" + name, "CHARSET": "utf8mb4"}
    return settings


DATABASES = {"default": _database("django"), "other": _database("other")}
SECRET_KEY = "django_tests_secret_key"  # asserted by admin_scripts
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if django.VERSION < (6,):  # as Django's own test settings of these versions say
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEST_RUNNER = "croft_django_runner.Runner"

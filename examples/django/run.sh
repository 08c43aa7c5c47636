# One cell: Django's runtests.py over a copy of its tests, laid out like a checkout.
# Copying thousands of files takes longer than a small selection does: what is not run is only linked.
mkdir tests
for entry in "$DJANGO_SOURCE"/tests/*; do
  folder=${entry##*/}
  case " $DJANGO_LABELS " in
    "  " | *" $folder "*) cp -R "$entry" tests/ ;;
    *) if [ -d "$entry" ]; then ln -s "$entry" tests/; else cp "$entry" tests/; fi ;;
  esac
done
chmod -R u+w tests
ln -s "$DJANGO_SOURCE/docs" docs
for file in setup.cfg pyproject.toml package.json; do
  [ ! -e "$DJANGO_SOURCE/$file" ] || cp "$DJANGO_SOURCE/$file" .
done
export CROFT_JUNIT="$PWD/report.xml" CROFT_REFUSED="$PWD/refused" TZ=UTC

status=0
(cd tests && "$DJANGO_PYTHON" -W ignore runtests.py --settings=croft_django_settings --noinput $DJANGO_OPTIONS $DJANGO_LABELS) || status=$?
[ ! -e "$CROFT_REFUSED" ] || refuse "$(cat "$CROFT_REFUSED")"
exit "$status"

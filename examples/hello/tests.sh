# The tests of one cell, for a shell that has only builtins. They report by protocol v1: lines "@croft {json}" on the log.
set -eu

sentence="$greeting, $audience!"
report='<testsuite name=\"hello\">'
failed=0

# check NAME COMMAND…
check() {
  test_name=$1
  shift
  if "$@"; then
    status=passed
    report="$report<testcase classname=\\\"hello\\\" name=\\\"$test_name\\\"/>"
  else
    status=failed
    failed=$((failed + 1))
    report="$report<testcase classname=\\\"hello\\\" name=\\\"$test_name\\\"><failure message=\\\"$sentence\\\"/></testcase>"
  fi
  echo "$test_name: $status"
  printf '@croft {"v":1,"event":"test","suite":"hello","name":"%s","status":"%s","ms":0}\n' "$test_name" "$status"
}

is_polite() { case $sentence in [A-Z]*!) ;; *) return 1 ;; esac; }
is_addressed() { case $sentence in *", $audience"*) ;; *) return 1 ;; esac; }
is_short() { [ "${#sentence}" -lt 40 ]; }

echo "$sentence"
check is_polite is_polite
check is_addressed is_addressed
check is_short is_short

report="$report</testsuite>"
printf '@croft {"v":1,"event":"report","format":"junit","encoding":"identity","part":1,"of":1,"data":"%s"}\n' "$report"
[ "$failed" = 0 ]
echo "$sentence" > "$out"

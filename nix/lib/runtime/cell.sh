# Runs one cell: services, script, reports, verdict. POSIX sh; run by busybox ash, dash and bash.
# Files: $croft_dir holds what croft needs, $CROFT_RUN the sockets (a short path), $croft_work is where the script runs.
set -u
[ -z "$croftPath" ] || { PATH=$croftPath; export PATH; }

croft_top=$NIX_BUILD_TOP
croft_dir=$croft_top/croft
croft_work=$croft_top/work
CROFT_RUN=$croft_top/run
croft_broken=   # why the cell could not be run properly; such a cell is never "as expected"
croft_signal=   # a signal that reached this shell
croft_rc=       # exit status of the script; empty: it never ran to an end
croft_done=
readonly croft_refused_status=77

croft_say() { printf 'croft: %s\n' "$*" >&2; }

croft_break() {
  croft_broken=$1
  croft_say "$1"
  exit 70
}

croft_need() {
  for croft_tool in "$@"; do
    command -v "$croft_tool" >/dev/null 2>&1 || {
      croft_say "there is no '$croft_tool' on the cell's path. Next: add coreutils, gawk, gnugrep, gnused and gzip, or busybox, to \`path\`."
      exit 70
    }
  done
}

# In a script: refuse "reason". The exit status alone means the same, for programs that cannot call a shell function.
refuse() {
  printf '%s' "${1:-no reason given}" > "$croft_dir/refused"
  exit "$croft_refused_status"
}

croft_prepare() {
  mkdir -p "$croft_dir" "$croft_work" "$CROFT_RUN" "$croft_top/home" "$out/croft"
  HOME=$croft_top/home
  # Nix's TMPDIR is a parent of the working directory, which confuses tests that look for files upward.
  [ "$croft_top" != /build ] || { TMPDIR=/tmp TMP=/tmp TEMP=/tmp TEMPDIR=/tmp; }
  export HOME CROFT_RUN TMPDIR TMP TEMP TEMPDIR
  : > "$croft_dir/log"
  if [ -n "${croftSrc:-}" ]; then
    cp -R "$croftSrc/." "$croft_work/" && chmod -R u+w "$croft_work" || croft_break "copying the source $croftSrc failed"
  fi
  cd "$croft_work" || croft_break "cannot enter $croft_work"
}

# The script's output goes to the build log as it is, and to a file for the case that it dies without a report.
croft_run_script() {
  mkfifo "$croft_dir/pipe" || croft_break "cannot make a pipe in $croft_dir"
  tee "$croft_dir/log" < "$croft_dir/pipe" &
  croft_tee=$!
  (
    set -eu
    # shellcheck disable=SC3040
    if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi
    . "$scriptPath"
  ) > "$croft_dir/pipe" 2>&1
  croft_rc=$?
  croft_drain
}

# A process that the script left behind may hold the pipe open for ever.
croft_drain() {
  croft_i=0
  while kill -0 "$croft_tee" 2>/dev/null; do
    croft_i=$((croft_i + 1))
    [ "$croft_i" -lt 100 ] || { kill -9 "$croft_tee"; break; }
    sleep 0.02
  done
  wait "$croft_tee" 2>/dev/null
  [ -z "$(tail -c 1 "$croft_dir/log")" ] || echo
}

# pass, fail, refused or broken.
croft_outcome() {
  if [ -n "$croft_broken$croft_signal" ] || [ -z "$croft_rc" ]; then echo broken
  elif [ "$croft_rc" = 0 ]; then echo pass
  elif [ "$croft_rc" = "$croft_refused_status" ]; then echo refused
  elif [ "$croft_rc" -gt 128 ]; then echo broken
  else echo fail; fi
}

croft_why_broken() {
  if [ -n "$croft_broken" ]; then echo "$croft_broken"
  elif [ -n "$croft_signal" ]; then echo "the cell was ended by SIG$croft_signal"
  elif [ -z "$croft_rc" ]; then echo "the script did not run to its end"
  else echo "the script was ended by signal $((croft_rc - 128))"; fi
}

# The last line that looks like an error, else the exit status.
croft_last_error() {
  croft_tail 200 | grep -a -i -E '(error|exception|fatal|panic|cannot|failed|refused|not found)' | tail -n 1 > "$croft_dir/last"
  if [ -s "$croft_dir/last" ]; then cat "$croft_dir/last"; else echo "exit status $croft_rc"; fi
}

croft_refusal() {
  if [ -e "$croft_dir/refused" ]; then cat "$croft_dir/refused"; else printf '%s' "exit status $croft_refused_status"; fi
}

croft_verdict() {
  case $croftExpect/$1 in
    pass/pass) return 0 ;;
    fail/fail | refused/refused) croft_say "$name: '$1' is what was expected."; return 0 ;;
    */broken) croft_say "$name has no verdict: $(croft_why_broken)." ;;
    pass/refused) croft_say "$name was refused: $(croft_refusal). If that is the right answer, say expect = \"refused\" in the cell." ;;
    fail/pass) croft_say "$name passed, but the cell says expect = \"fail\". If it is fixed, remove the expectation." ;;
    refused/pass) croft_say "$name passed, but the cell says expect = \"refused\". If this version is supported now, remove the expectation." ;;
    *) croft_say "$name: the outcome is '$1', exit status $croft_rc; expected was '$croftExpect'." ;;
  esac
  return 1
}

# The script's own status where it has one to tell; 70 for a cell without a verdict or with a wrong success.
croft_exit() {
  if [ "${croft_rc:-0}" -gt 128 ]; then exit "$croft_rc"; fi
  if [ "$1" = broken ] || [ "${croft_rc:-0}" = 0 ]; then exit 70; fi
  exit "$croft_rc"
}

croft_finish() {
  [ -z "$croft_done" ] || return
  croft_done=1
  set +e
  croft_services_stop
  croft_result=$(croft_outcome)
  croft_collect "$croft_result"
  # A green script without the report it announced proves nothing.
  if [ "$croft_result" = pass ] && [ -n "$croftJunit" ] && [ "$croft_reports" = 0 ]; then
    croft_broken="the script ended with status 0 but wrote no JUnit file '$croftJunit'"
    croft_result=broken
    croft_collect broken
  fi
  if croft_verdict "$croft_result"; then
    croft_keep "$croft_result"
    exit 0
  fi
  croft_exit "$croft_result"
}

croft_need awk base64 cat chmod cp cut fold grep gzip mkdir mkfifo sed sleep tail tee tr wc
. "$croftReportLib"
. "$croftServicesLib"
trap croft_finish EXIT
for croft_s in HUP INT TERM; do
  # shellcheck disable=SC2064
  trap "croft_signal=$croft_s; exit 70" "$croft_s"
done
croft_prepare
. "$croftStartPath"
croft_run_script

# What the shell text of a service calls. A service logs to $croft_log; its log is shown when it does not start or dies.
croft_running= # "name:pid name:pid", the latest first

croft_service() {
  croft_name=$1
  croft_log=$croft_dir/$1.log
}

croft_service_break() {
  tail -n 50 "$croft_log" 2>/dev/null | sed "s/^/$croft_name: /" | tee -a "$croft_dir/log"
  croft_break "the service $croft_name $1"
}

# croft_once COMMAND…: a step of setting up, such as initdb. Reads this shell's stdin.
croft_once() {
  "$@" >> "$croft_log" 2>&1 || croft_service_break "cannot be set up: '${1##*/}' ended with status $?"
}

# croft_spawn COMMAND…: the server itself, in the foreground of its own process.
croft_spawn() {
  "$@" >> "$croft_log" 2>&1 < /dev/null &
  croft_pid=$!
  croft_running="$croft_name:$croft_pid $croft_running"
}

# croft_ready SECONDS COMMAND…: waits until the command succeeds. Gives up when the server is gone or the time is over.
croft_ready() {
  croft_left=$(($1 * 10))
  croft_limit=$1
  shift
  until "$@" > /dev/null 2>&1; do
    kill -0 "$croft_pid" 2>/dev/null || croft_service_break "ended while it was starting"
    croft_left=$((croft_left - 1))
    [ "$croft_left" -gt 0 ] || croft_service_break "does not answer after $croft_limit s"
    sleep 0.1
  done
}

# croft_says TEXT: the server has written this line. For croft_ready, where there is no client to ask.
croft_says() { grep -q -e "$1" "$croft_log"; }

# The data is thrown away, so nothing is gained by an orderly shutdown; and a process that a shell started in the
# background ignores SIGINT, so that an orderly one may never come.
croft_kill() {
  for croft_one in $croft_running; do
    [ "${croft_one%%:*}" = "$croft_name" ] || continue
    kill -9 "${croft_one##*:}" 2>/dev/null
    wait "${croft_one##*:}" 2>/dev/null
  done
}

croft_services_stop() {
  [ -z "$croft_rc" ] || croft_services_died
  . "$croftStopPath"
}

# A script that passed did not need the service any more; but a failure may be the service's, not the project's.
croft_services_died() {
  for croft_one in $croft_running; do
    kill -0 "${croft_one##*:}" 2>/dev/null && continue
    croft_service "${croft_one%%:*}"
    tail -n 50 "$croft_log" 2>/dev/null | sed "s/^/$croft_name: /"
    croft_say "the service $croft_name ended while the script ran"
    [ "$croft_rc" = 0 ] || croft_broken="the service $croft_name ended while the script ran"
  done
}

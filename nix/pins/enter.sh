#!@busybox@ ash
# enter [-w] [-b SOURCE TARGET] ROOT PROGRAM [ARGUMENT...]: run PROGRAM with ROOT as its userland (/usr, /etc, /var).
# All else is as outside: the build directory and its sockets, /tmp, /nix, /proc, /dev, the environment.
# -w lets PROGRAM change the root; -b shows a directory of the outside at another place.
bind=--ro-bind
extra_source= extra_target=
[ "$1" != -w ] || { bind=--bind; shift; }
[ "$1" != -b ] || { extra_source=$2 extra_target=$3; shift 3; }
root=$1
shift

set -- --chdir "$PWD" -- "$@"
[ -z "$extra_source" ] || set -- --ro-bind "$extra_source" "$extra_target" "$@"
for folder in /*; do
  case $folder in
    /usr | /bin | /sbin | /lib* | /etc | /var | /dev | /proc) ;;
    *) [ ! -d "$folder" ] || [ -L "$folder" ] || set -- --bind "$folder" "$folder" "$@" ;;
  esac
done

export PATH="/usr/bin:/bin:/usr/sbin:/sbin${PATH:+:$PATH}"
export LANG="${LANG:-C.UTF-8}"
# A build runs as 1000:100; outside of one the same identity keeps servers content that refuse to run as root.
exec @bwrap@ --unshare-user --uid 1000 --gid 100 --die-with-parent \
  "$bind" "$root/usr" /usr "$bind" "$root/etc" /etc "$bind" "$root/var" /var --tmpfs /var/tmp \
  --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
  --dev-bind /dev /dev --bind /proc /proc "$@"

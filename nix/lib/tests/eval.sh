#!/bin/sh
# Runs eval.nix, then compares the text of every error. NIX_INSTANTIATE names the program (default: nix-instantiate).
set -eu
cd "$(dirname "$0")"
nix=${NIX_INSTANTIATE:-nix-instantiate}

failed=$($nix --eval --strict eval.nix -A failed)
[ "$failed" = "[ ]" ] || { echo "failed: $failed"; exit 1; }

count=0
wrong=0
tab=$(printf '\t')
list=$($nix --eval --strict --json eval.nix -A wanted | sed 's/^"//; s/\\n"$//; s/\\n/\n/g; s/\\t/\t/g; s/\\"/"/g; s/\\\\/\\/g')
while IFS= read -r line; do
  name=${line%%"$tab"*}
  message=$($nix --eval --strict eval.nix -A "messages.$name.value" 2>&1) && message="no error, but: $message"
  rest=$line
  while [ "$rest" != "${rest#*"$tab"}" ]; do
    rest=${rest#*"$tab"}
    words=${rest%%"$tab"*}
    case $message in
      *"$words"*) ;;
      *) echo "$name: '$words' is not in: $message"; wrong=1 ;;
    esac
  done
  count=$((count + 1))
done <<END
$list
END
[ "$wrong" = 0 ]
echo "the shapes hold, $count messages say what they should"

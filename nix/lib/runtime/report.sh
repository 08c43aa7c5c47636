# Report protocol v1: lines "@croft {json}" on the build log, the one thing that survives a failing build.
croft_reports=0
# A part is four of these, just under 32 KiB; a multiple of 4, so that each part can be decoded alone. (busybox's fold
# takes no more than 10,000.)
readonly croft_line=8188

# stdin without control characters; a line that is not UTF-8 becomes ASCII, because neither JSON nor XML may hold it.
croft_utf8() {
  LC_ALL=C tr -d '\000-\010\013-\037\177' | LC_ALL=C awk '{
    rest = $0
    gsub(/[\302-\337][\200-\277]|[\340-\357][\200-\277][\200-\277]|[\360-\364][\200-\277][\200-\277][\200-\277]/, "", rest)
    if (rest ~ /[\200-\377]/) gsub(/[\200-\377]/, "?")
    print
  }'
}

croft_xml() { croft_utf8 | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }

# stdin as the inside of a JSON string, on one line.
croft_json() { croft_utf8 | tr '\011\012' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/ *$//'; }

# At most $1 bytes of stdin. What is cut is made ASCII first: half a character is not text.
croft_bound() {
  cat > "$croft_dir/bound"
  if [ "$(wc -c < "$croft_dir/bound")" -le "$1" ]; then cat "$croft_dir/bound"
  else LC_ALL=C tr '\012' ' ' < "$croft_dir/bound" | LC_ALL=C tr -cd '\040-\176' | cut -c "1-$1"; fi
}

# The last $1 lines of the script's output, without protocol lines.
croft_tail() { tail -n "$1" "$croft_dir/log" | grep -a -v '^@croft ' | cut -c 1-2000; }

# croft_send FILE NAME: one report, in as many lines as it takes.
croft_send() {
  gzip -c < "$1" | base64 | tr -d '\n' > "$croft_dir/encoded"
  croft_size=$(wc -c < "$croft_dir/encoded")
  croft_of=$(((croft_size + 4 * croft_line - 1) / (4 * croft_line)))
  croft_label=$(printf '%s' "$2" | croft_bound 300 | croft_json)
  fold -w "$croft_line" "$croft_dir/encoded" | CROFT_OF=$croft_of CROFT_LABEL=$croft_label awk '
    function emit() {
      part++
      print "@croft {\"v\":1,\"event\":\"report\",\"format\":\"junit\",\"encoding\":\"gzip+base64\",\"name\":\"" ENVIRON["CROFT_LABEL"] \
        "\",\"part\":" part ",\"of\":" ENVIRON["CROFT_OF"] ",\"data\":\"" data "\"}"
      data = ""
    }
    { data = data $0 }
    NR % 4 == 0 { emit() }
    END { if (data != "") emit() }'
  croft_reports=$((croft_reports + 1))
  cat "$1" > "$croft_dir/report-$croft_reports.xml"
}

# croft_synthetic CASE ELEMENT MESSAGE: a report of one test, for a cell whose runner left none.
croft_synthetic() {
  croft_message=$(printf '%s' "$3" | croft_bound 500 | croft_xml)
  {
    printf '<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="croft" tests="1" failures="0" errors="%d" skipped="0">\n' "$([ "$2" = error ] && echo 1 || echo 0)"
    printf '<testcase classname="croft" name="%s"><%s' "$1" "$2"
    [ "$2" != error ] || printf ' message="%s"' "$croft_message"
    printf '>%s\n' "$croft_message"
    croft_tail 200 | croft_xml
    printf '</%s></testcase>\n</testsuite>\n' "$2"
  } > "$croft_dir/synthetic.xml"
  croft_send "$croft_dir/synthetic.xml" croft
}

# croft_collect OUTCOME: everything that is known about the tests, on the log.
croft_collect() {
  if [ "$croft_reports" = 0 ]; then
    cd "$croft_work"
    for croft_file in $croftJunit; do
      [ ! -s "$croft_file" ] || croft_send "$croft_file" "$croft_file"
    done
  fi
  case $1 in
    pass) ;;
    broken) croft_synthetic run error "$(croft_why_broken)" ;;
    refused)
      printf '@croft {"v":1,"event":"refused","reason":"%s"}\n' "$(croft_refusal | croft_bound 4000 | croft_json)"
      if [ "$croftExpect" = refused ]; then croft_synthetic refuses system-out "$(croft_refusal)"
      else croft_synthetic refuses error "refused: $(croft_refusal)"; fi ;;
    fail) [ "$croft_reports" != 0 ] || croft_synthetic run error "$(croft_last_error)" ;;
  esac
}

# croft_keep OUTCOME: the report in the output, so that a substituted cell has its tests. Store hashes are blotted out,
# or a report would keep everything alive that a traceback mentions.
croft_keep() {
  printf '{"v":1,"outcome":"%s","expect":"%s"}\n' "$1" "$croftExpect" > "$out/croft/cell.json"
  [ "$croft_reports" != 0 ] || return 0
  if [ "$croft_reports" = 1 ]; then cat "$croft_dir/report-1.xml"
  else
    printf '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    croft_i=0
    while [ "$croft_i" -lt "$croft_reports" ]; do
      croft_i=$((croft_i + 1))
      sed -e 's/<?xml[^>]*>//' -e 's/<!DOCTYPE[^>]*>//' -e 's/<testsuites[^>]*>//' -e 's/<\/testsuites>//' "$croft_dir/report-$croft_i.xml"
    done
    printf '</testsuites>\n'
  fi | sed "s|$NIX_STORE/[0-9a-z]\{32\}-|$NIX_STORE/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-|g" > "$out/croft/report.xml"
}

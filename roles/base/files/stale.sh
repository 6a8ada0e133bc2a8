# shellcheck shell=sh
# stale.sh [restart]: says which units still go by what they read before it was replaced, as the run that did so was killed
# before it restarted them. What a unit goes by it says itself, in its file or drop-in: X-Reads= and patterns of files.
# No program of the host's: it is a part of what base asks anyhow.
cd /etc/systemd/system || exit
grep -ls '^X-Reads=' ./*.service ./*.service.d/*.conf | while read -r file; do
  unit=${file#./}
  unit=${unit%%.service*}.service
  state=$(systemctl show --timestamp=us+utc --property=ActiveState --property=StateChangeTimestamp "$unit")
  case $state in *ActiveState=active*) ;; *) continue ;; esac
  # a start, or a reload
  since=$(echo "$state" | sed -n 's/^StateChangeTimestamp=//p')
  # some need not be there
  # shellcheck disable=SC2046 # patterns
  [ -z "$(find "$file" $(sed -n 's/^X-Reads=//p' "$file") -type f -newermt "$since" -print -quit 2>/dev/null)" ] || echo "$unit"
done | sort -u | while read -r unit; do
  [ "${1:-}" != restart ] || systemctl restart "$unit" </dev/null
  echo "$unit"
done

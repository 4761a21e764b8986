# How far a long step is and how long it will take yet. Sourced by tests/run and tests/lint.
#
# On a terminal one line is overwritten; elsewhere lines follow each other, at most one in five seconds.

step_began=$SECONDS  # of the step whose progress is shown
progress_shown_at=-100

# begin_progress: what comes is a new step.
begin_progress() {
  step_began=$SECONDS
  progress_shown_at=-100
}

# clock SECONDS: as minutes and seconds.
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# show_progress DONE ALL WHAT [WORK_DONE WORK_ALL]: at the rate so far; WORK when pieces differ in size.
show_progress() {
  local elapsed=$((SECONDS - step_began)) left work=${4:-$1} all=${5:-$2}
  left=$((elapsed * (all - work) / (work > 0 ? work : 1)))
  if [ -t 1 ]; then
    printf '\r\033[K%s' "$(printf '%s of %s, %s left: %s' "$1" "$2" "$(clock "$left")" "$3" | cut -c1-"${COLUMNS:-100}")"
    [ "$1" -lt "$2" ] || printf '\n'
  elif [ "$1" -eq "$2" ] || [ $((SECONDS - progress_shown_at)) -ge 5 ]; then
    progress_shown_at=$SECONDS
    printf '%s of %s, %s left: %s\n' "$1" "$2" "$(clock "$left")" "$3"
  fi
}

# show_line TEXT: something to be read, on a line of its own.
show_line() {
  [ ! -t 1 ] || printf '\r\033[K'
  printf '%s\n' "$1"
}

# with_time_left: passes on what ninja or ctest print, their counters with the time left.
with_time_left() {
  local line
  begin_progress
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ (.*) ]]; then
      show_progress "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"
    elif [[ $line =~ ^\ *([0-9]+)/([0-9]+)\ Test\ +#[0-9]+:\ (.*[^ .])[\ .]*\ Passed ]]; then
      show_progress "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"
    elif [[ ! $line =~ ^\ *Start\ +[0-9]+: ]]; then
      show_line "$line"
    fi
  done
}

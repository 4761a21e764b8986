#!/usr/bin/env bash
# How long Tessera takes and how much memory it uses for one step of a 1.6 T mixture of experts on
# 2,048 to 102,400 B200: a table, scale.csv and a picture of both, scale.svg, in a folder.
#
# DeepSeek-V3 with 640 experts a layer instead of 256 (1.6 T parameters), 8 sequences a GPU, uniform
# routing, closed form, one process: what grows with GPUs is the fabric and its collectives.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
case ${1:---help} in -h|--help) echo "usage: tests/speed/scale.sh FOLDER [TESSERA]"; exit 0 ;; esac
out=$1
tessera=${2:-$root/build/tessera}
mkdir -p "$out"
csv=$out/scale.csv
echo gpus,seconds,mebibytes,step_seconds > "$csv"
result=$(mktemp)
trap 'rm -f "$result"' EXIT
for gpus in 2048 4096 8192 16384 32768 65536 102400; do
  told=$("$tessera" run deepseek_v3_pretrain_b200 --fidelity analytical --jobs 1 --verbose --format json \
    --set cluster="b200_${gpus}_multiplane" --set architecture.experts.routed=640 \
    --set batch.sequences=$((gpus * 8)) 2>&1 >"$result")
  seconds=$(sed -n 's/^wall: \([0-9.]*\) s.*/\1/p' <<<"$told")
  memory=$(sed -n 's/^memory: at most \([0-9]*\) MiB.*/\1/p' <<<"$told")
  step=$(tr -d ' \n' <"$result" | sed 's/.*"step_time":{\([^}]*\)}.*/\1/; s/.*"value":\([0-9.e+-]*\).*/\1/')
  printf '%s,%s,%s,%s\n' "$gpus" "$seconds" "$memory" "$step" >> "$csv"
  printf '%7d GPUs  %6.2f s  %5d MiB  step %.3f s\n' "$gpus" "$seconds" "$memory" "$step"
done

# Both axes logarithmic; seconds and mebibytes on panels of their own.
awk -F, '
  function log10(x) { return log(x) / log(10) }
  function y_of(value, low, high, top) { return top + 180 * (1 - (log10(value) - low) / (high - low)) }
  function x_of(gpus) { return 70 + 400 * (log10(gpus) - 3.2) / 1.9 }
  function panel(values, low, high, top, title,    i, decade, line) {
    printf "<text x=\"70\" y=\"%d\" font-weight=\"bold\">%s</text>\n", top - 10, title
    for (decade = low; decade <= high; ++decade)
      printf "<line x1=\"70\" x2=\"470\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ccc\"/><text x=\"62\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
        y_of(10 ^ decade, low, high, top), y_of(10 ^ decade, low, high, top), y_of(10 ^ decade, low, high, top) + 4, 10 ^ decade
    for (i = 1; i <= n; ++i) {
      line = line sprintf("%.1f,%.1f ", x_of(gpus[i]), y_of(values[i], low, high, top))
      printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#1f77b4\"/>\n", x_of(gpus[i]), y_of(values[i], low, high, top)
      printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n", x_of(gpus[i]), top + 196, gpus[i]
    }
    printf "<polyline points=\"%s\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>\n", line
  }
  NR > 1 { ++n; gpus[n] = $1; seconds[n] = $2; memory[n] = $3 }
  END {
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"500\" height=\"500\" font-family=\"sans-serif\" font-size=\"11\">"
    print "<rect width=\"500\" height=\"500\" fill=\"white\"/>"
    panel(seconds, -2, 2, 40, "Seconds to simulate one training step, one core")
    panel(memory, 1, 4, 290, "Most memory resident, MiB")
    print "<text x=\"270\" y=\"498\" text-anchor=\"middle\">GPUs</text></svg>"
  }' "$csv" > "$out/scale.svg"
echo "picture: $out/scale.svg"

# SPDX-License-Identifier: Apache-2.0
# bench/plot/timeline.gp - a migration over time.  plot.py sets: data, title,
# stop, run (ms; the guest stood still between them), end (ms).
set multiplot layout 4,1 title title noenhanced
set xrange [0:end]
set yrange [0:*]
set grid
set lmargin 12
set rmargin 4
unset key
set object 1 rectangle from stop, graph 0 to run, graph 1 \
	fillcolor rgb "#d62728" fillstyle solid 0.35 noborder behind
set arrow 1 from stop, graph 0 to stop, graph 1 nohead lc rgb "#d62728"
set format x ""
set ylabel "MiB/s"
plot data using 1:2 with steps lw 2 lc rgb "#1f77b4"
set ylabel "pages left"
plot data using 1:3 with lines lw 2 lc rgb "#2ca02c"
set ylabel "dirtied pages/s"
plot data using 1:4 with steps lw 2 lc rgb "#ff7f0e"
set format x "%g"
set xlabel sprintf("ms; red: the guest stood still, %.2f ms", run - stop)
set ylabel "pages asked for/s"
plot data using 1:5 with steps lw 2 lc rgb "#9467bd"
unset multiplot

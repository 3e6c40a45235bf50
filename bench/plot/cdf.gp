# SPDX-License-Identifier: Apache-2.0
# bench/plot/cdf.gp - how long touches of missing pages took.  plot.py sets:
# files and names (lists of words, _ for a blank), title.
set title title noenhanced
set logscale x
set xlabel "us"
set ylabel "of 100 touches, so many took no longer"
set yrange [0:100]
set grid
set key bottom right noenhanced
plot for [i = 1:words(files)] word(files, i) using 1:2 \
	with linespoints lw 2 pt 7 ps 0.4 title word(names, i)

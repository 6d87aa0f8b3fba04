# gnuplot index.gp: index.csv (from `cargo bench --bench index`) to index.svg
set datafile separator ","
set terminal svg size 640,640 font "sans-serif,13" background "white"
set output "index.svg"
set multiplot layout 2,1
set logscale x
set format x "10^{%L}"
set xlabel "fingerprints"
set grid ytics lc rgb "#dddddd"
unset key
set title "Memory of the index"
set ylabel "bytes a fingerprint"
set yrange [0:*]
plot "index.csv" skip 1 using 1:2 with linespoints lw 2 pt 7 lc rgb "#1f6f8b"
set key top right
set title "Look-ups on one core"
set ylabel "millions a second"
plot "index.csv" skip 1 using 1:3 with linespoints lw 2 pt 7 lc rgb "#1f6f8b" title "absent keys", \
     "index.csv" skip 1 using 1:4 with linespoints lw 2 pt 5 lc rgb "#d1495b" title "present keys, one read each"
unset multiplot

# gnuplot cores.gp: cores.csv (from `cargo bench --bench cores`) to cores.svg
set datafile separator ","
set terminal svg size 640,400 font "sans-serif,13" background "white"
set output "cores.svg"
set title "Ingest of new incompressible data, one stream per core, disk included"
set xlabel "cores"
set ylabel "GiB/s of all together"
set xtics 1
set yrange [0:*]
set xrange [0.5:*]
set grid ytics lc rgb "#dddddd"
unset key
plot "cores.csv" skip 1 using 1:2 with linespoints lw 2 pt 7 lc rgb "#1f6f8b"

mkdir in
echo inside >in/side
touch -d '2019-01-01' in/side in
tar -czf archive.tar.gz in
touch -d '2001-02-03 04:05:06' file.txt

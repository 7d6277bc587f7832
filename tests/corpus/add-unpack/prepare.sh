mkdir d
echo inside > d/file
touch -d '2020-02-03 04:05:06' d/file d
tar --owner=0 --group=0 --numeric-owner --mtime='2020-02-03 04:05:06' --sort=name --format=ustar -cf archive.tar d
gzip -n archive.tar
rm -r d

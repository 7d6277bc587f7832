ln -s dir/file link
ln dir/file hard
chmod 4711 hard
mkfifo fifo

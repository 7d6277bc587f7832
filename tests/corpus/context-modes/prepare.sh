mkdir dir empty dir/sticky
echo a > dir/private; chmod 600 dir/private
echo a > dir/script; chmod 755 dir/script
echo a > dir/setuid; chmod 6755 dir/setuid
echo a > dir/none; chmod 000 dir/none
chmod 1777 dir/sticky
chmod 700 dir
touch -d '1999-12-31 23:59:59' dir/script
touch -d '2001-02-03 04:05:06.789' dir/private
chown 123:456 dir/script
mkfifo dir/fifo
ln dir/script dir/hard

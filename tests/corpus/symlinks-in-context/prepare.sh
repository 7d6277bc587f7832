ln -s target.txt link.txt
ln -s dir linked-dir
ln -s ../target.txt dir/relative
ln -s /target.txt dir/absolute
ln -s nowhere dir/dangling
ln -s . dir/self

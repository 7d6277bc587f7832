mkdir -p dir t && echo f > dir/f && echo in > t/in && touch -d '2019-05-06 07:08:09' t/in
tar -C t --sort=name --format=ustar -cf dir/a.tar in && cp dir/a.tar dir/sub.tar && rm -r t

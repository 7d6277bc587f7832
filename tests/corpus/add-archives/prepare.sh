mkdir -p t/dir/empty t/etc && echo one > t/dir/one && chmod 4751 t/dir/one && ln -s one t/dir/link && ln t/dir/one t/dir/hard
echo p > t/p && chown 77:88 t/p
find t -exec touch -h -d '2019-05-06 07:08:09' {} +
options='--sort=name --format=pax --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f'
tar -C t $options -cf plain.tar .
tar -C t $options -czf packed.tar.gz dir
tar -C t $options -cJf packed.tar.xz p
tar -C t $options -cjf packed.tar.bz2 dir/link
echo 'just text' > not-an-archive.tar.gz
rm -r t
